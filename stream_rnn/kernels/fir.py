"""A finite impulse response: y_t = sum over the lags l of (x_{t-l} W_l + b_l), in the transposed form.

What the sample adds to the output of l steps later is added up now: so a sample is multiplied once, by all
lags' weights side by side, and no sample is kept.
"""

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.vector import LANES, load, load_first, store_first
from stream_rnn.sample import F32


@part
def fir_update(sums: F32, a: int, state: F32, at: int, H: int, lags: int) -> None:
    """s_t = x W + b + (s_{t-1} without its first H values, then H zeros): the first H are the output.

    Args:
        sums: Holds x W + b, H values for each lag, the newest first, from index `a`.
        a: See `sums`.
        state: Holds what is known of this output and of the next ones, H values each, from index `at`.
            Overwritten.
        at: See `state`.
        H: Number of units.
        lags: Number of lags.
    """
    past = (lags - 1) * H
    for j in range(0, past + H, LANES):
        s = load(sums, a + j)
        if j < past:
            s = s + load_first(state, at + H + j, past - j)
        store_first(state, at + j, s, past + H - j)
