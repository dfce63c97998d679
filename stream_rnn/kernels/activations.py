"""Squashing functions: of one vector, and in place over many values. NaN stays NaN."""

import numpy as np

from stream_rnn.kernels._jit import hot
from stream_rnn.kernels.vector import (
    LANES,
    Vector,
    at_least,
    at_most,
    fma,
    load_first,
    splat,
    store_first,
)
from stream_rnn.sample import F32

LINEAR, TANH, SIGMOID, SOFTMAX = range(4)
"""Codes of the readout's activations in a plan."""

# tanh(x) = x P(x^2) / Q(x^2) on [-CLAMP, CLAMP], minimax, made by tools/fit_tanh.py; largest error 4.2e-7.
# Division and products only: no vector math library is needed.
CLAMP = np.float32(7.9053)
P0, P1, P2, P3 = (
    np.float32(1.0),
    np.float32(0.131279245),
    np.float32(3.15341237e-3),
    np.float32(1.16869332e-5),
)
P4, P5, P6 = np.float32(-2.2513870e-8), np.float32(6.4763514e-11), np.float32(-1.1904471e-13)
Q0, Q1, Q2, Q3 = (
    np.float32(1.0),
    np.float32(0.464612544),
    np.float32(2.46909577e-2),
    np.float32(2.61898211e-4),
)
HALF = np.float32(0.5)
ZERO = np.float32(0.0)


@hot
def tanh_of(x: Vector) -> Vector:
    """tanh(x)."""
    x = at_most(x, splat(CLAMP))
    x = at_least(x, splat(-CLAMP))
    u = x * x
    top = fma(u, splat(P6), splat(P5))
    top = fma(u, top, splat(P4))
    top = fma(u, top, splat(P3))
    top = fma(u, top, splat(P2))
    top = fma(u, top, splat(P1))
    top = fma(u, top, splat(P0))
    bottom = fma(u, splat(Q3), splat(Q2))
    bottom = fma(u, bottom, splat(Q1))
    bottom = fma(u, bottom, splat(Q0))
    return x * top / bottom


@hot
def sigmoid_of(x: Vector) -> Vector:
    """1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2."""
    half = splat(HALF)
    return fma(half, tanh_of(half * x), half)


@hot
def relu_of(x: Vector) -> Vector:
    """max(x, 0)."""
    return at_least(x, splat(ZERO))


@hot
def tanh(v: F32) -> None:
    """v = tanh(v), in place.

    Args:
        v: Values, (N,). Overwritten.
    """
    N = v.shape[0]
    for j in range(0, N, LANES):
        store_first(v, j, tanh_of(load_first(v, j, N - j)), N - j)


@hot
def sigmoid(v: F32) -> None:
    """v = sigmoid(v), in place.

    Args:
        v: Values, (N,). Overwritten.
    """
    N = v.shape[0]
    for j in range(0, N, LANES):
        store_first(v, j, sigmoid_of(load_first(v, j, N - j)), N - j)


@hot
def relu(v: F32) -> None:
    """v = max(v, 0), in place.

    Args:
        v: Values, (N,). Overwritten.
    """
    N = v.shape[0]
    for j in range(0, N, LANES):
        store_first(v, j, relu_of(load_first(v, j, N - j)), N - j)


@hot
def softmax(v: F32) -> None:
    """v = exp(v) / sum(exp(v)), in place, shifted by the largest value so that nothing overflows.

    Args:
        v: Values, (N,). Overwritten.
    """
    largest = v[0]
    for i in range(1, v.shape[0]):
        largest = max(largest, v[i])
    total = ZERO
    for i in range(v.shape[0]):
        v[i] = np.exp(v[i] - largest)
        total += v[i]
    for i in range(v.shape[0]):
        v[i] /= total


@hot
def activate(code: int, v: F32) -> None:
    """Apply the readout's activation in place.

    Args:
        code: LINEAR, TANH, SIGMOID or SOFTMAX.
        v: Values, (N,). Overwritten.
    """
    if code == TANH:
        tanh(v)
    elif code == SIGMOID:
        sigmoid(v)
    elif code == SOFTMAX:
        softmax(v)
