"""GRU cell (Cho et al. 2014): gates r, z, n in this order of columns; reset before or after U_n.

h_t = (1 - z) n + z h_{t-1}
reset after:  n = tanh(x W_n + b_n + r (h U_n + b_u))   (cuDNN, PyTorch, Keras' default)
reset before: n = tanh(x W_n + b_n + (r h) U_n)         (the paper, ONNX' default)
"""

import numpy as np

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.activations import sigmoid_of, tanh_of
from stream_rnn.kernels.vector import LANES, fma, load, load_first, splat, store_first
from stream_rnn.sample import F32

ONE = np.float32(1.0)


@part
def gru_update(sums: F32, a: int, q: int, reset_after: bool, state: F32, at: int, H: int) -> None:
    """h_t = (1 - z) n + z h_{t-1}, n = tanh(x W_n + b_n + r q_n), or without r where it was applied before.

    Args:
        sums: Holds x W + b, 3H values from index `a`, and what h adds to them, 3H values from index `q`.
        a: See `sums`.
        q: See `sums`.
        reset_after: Whether the reset gate multiplies the recurrent part of the candidate.
        state: Holds h, H values from index `at`. Overwritten.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        z = sigmoid_of(load(sums, a + H + j) + load(sums, q + H + j))
        n, q_n = load(sums, a + 2 * H + j), load(sums, q + 2 * H + j)
        if reset_after:
            r = sigmoid_of(load(sums, a + j) + load(sums, q + j))
            n = tanh_of(fma(r, q_n, n))
        else:
            n = tanh_of(n + q_n)
        h = load_first(state, at + j, H - j)
        store_first(state, at + j, fma(splat(ONE) - z, n, z * h), H - j)


@part
def gru_reset(sums: F32, a: int, q: int, kept: int, state: F32, at: int, H: int) -> None:
    """r h, which U_n multiplies where the reset comes before.

    Args:
        sums: Holds x W + b from index `a` and h U from index `q`, of each the first H values for r; r h is
            written from index `kept`.
        a: See `sums`.
        q: See `sums`.
        kept: See `sums`.
        state: Holds h, H values from index `at`.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        r = sigmoid_of(load(sums, a + j) + load(sums, q + j))
        store_first(sums, kept + j, r * load_first(state, at + j, H - j), H - j)
