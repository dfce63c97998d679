"""LSTM cell with forget gate (Gers, Schmidhuber, Cummins 2000): gates i, f, g, o in this order of columns."""

import numpy as np

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.activations import sigmoid_of, tanh_of
from stream_rnn.kernels.vector import LANES, fma, load, load_first, store_first
from stream_rnn.sample import F32

ONE = np.float32(1.0)


@part
def lstm_update(sums: F32, a: int, q: int, state: F32, at: int, H: int) -> None:
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t), where i, f, o = sigmoid and g = tanh of x W + b + h U.

    Args:
        sums: Holds x W + b, 4H values from index `a`, and h U, 4H values from index `q`.
        a: See `sums`.
        q: See `sums`.
        state: Holds h and, behind it, c, H values each, from index `at`. Overwritten.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        i = sigmoid_of(load(sums, a + j) + load(sums, q + j))
        f = sigmoid_of(load(sums, a + H + j) + load(sums, q + H + j))
        g = tanh_of(load(sums, a + 2 * H + j) + load(sums, q + 2 * H + j))
        o = sigmoid_of(load(sums, a + 3 * H + j) + load(sums, q + 3 * H + j))
        c = fma(f, load_first(state, at + H + j, H - j), i * g)
        store_first(state, at + H + j, c, H - j)
        store_first(state, at + j, o * tanh_of(c), H - j)
