"""Squashing functions, in place over a vector. NaN stays NaN."""

import numpy as np

from stream_rnn.kernels._jit import kernel
from stream_rnn.sample import F32

LINEAR, TANH, SIGMOID, SOFTMAX = range(4)
"""Codes of the readout's activations in a plan."""

# tanh(x) = x P(x^2) / Q(x^2) on [-CLAMP, CLAMP], minimax, made by tools/fit_tanh.py; largest error 4.2e-7.
# Division and products only, so that the loop becomes vector code without a vector math library.
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


@kernel
def tanh(v: F32) -> None:
    """v = tanh(v), in place.

    Args:
        v: Values, (N,). Overwritten.
    """
    for i in range(v.shape[0]):
        x = v[i]
        x = CLAMP if x > CLAMP else x  # in this order a NaN passes through both
        x = -CLAMP if x < -CLAMP else x
        u = x * x
        top = P0 + u * (P1 + u * (P2 + u * (P3 + u * (P4 + u * (P5 + u * P6)))))
        v[i] = x * top / (Q0 + u * (Q1 + u * (Q2 + u * Q3)))


@kernel
def sigmoid(v: F32) -> None:
    """v = 1 / (1 + exp(-v)) = (1 + tanh(v / 2)) / 2, in place.

    Args:
        v: Values, (N,). Overwritten.
    """
    for i in range(v.shape[0]):
        v[i] *= HALF
    tanh(v)
    for i in range(v.shape[0]):
        v[i] = HALF * v[i] + HALF


@kernel
def relu(v: F32) -> None:
    """v = max(v, 0), in place.

    Args:
        v: Values, (N,). Overwritten.
    """
    for i in range(v.shape[0]):
        v[i] = ZERO if v[i] < ZERO else v[i]


@kernel
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


@kernel
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
