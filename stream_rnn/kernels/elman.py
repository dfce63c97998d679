"""Elman cell (Elman 1990): h_t = f(x_t W + h_{t-1} U + b), f = tanh, relu, or nothing: a linear filter."""

import numpy as np

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.activations import relu_of, tanh_of
from stream_rnn.kernels.plan import ELMAN_LINEAR, ELMAN_RELU
from stream_rnn.kernels.vector import LANES, Vector, load, store_first
from stream_rnn.sample import F32

ONE = np.float32(1.0)


@part
def elman_of(kind: int, z: Vector) -> Vector:
    """f(z) of one of the kinds of this cell."""
    if kind == ELMAN_LINEAR:
        return z
    return relu_of(z) if kind == ELMAN_RELU else tanh_of(z)


@part
def elman_update(sums: F32, a: int, q: int, kind: int, state: F32, at: int, H: int) -> None:
    """h_t = f(x W + b + h U).

    Args:
        sums: Holds x W + b, H values from index `a`, and h U, H values from index `q`.
        a: See `sums`.
        q: See `sums`.
        kind: Tells f.
        state: Holds h, H values from index `at`. Overwritten.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        z = load(sums, a + j) + load(sums, q + j)
        store_first(state, at + j, elman_of(kind, z), H - j)
