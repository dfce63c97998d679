"""Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019) on the flat weights."""

import math

import numpy as np

from stream_rnn.kernels._jit import kernel
from stream_rnn.sample import F32

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@kernel
def adam_step(
    weights: F32,
    gradient: F32,
    decay: F32,
    m: F32,
    v: F32,
    rate: float,
    beta1: float,
    beta2: float,
    time: int,
) -> None:
    """Move the weights one step, in place.

    Args:
        weights: Weights, (P,). Overwritten.
        gradient: Gradient of the mean loss, (P,).
        decay: Weight decay of each weight, (P,); 0 for biases.
        m: First moment, (P,). Overwritten.
        v: Second moment, (P,). Overwritten.
        rate: Learning rate.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        time: Number of this step, from 1.
    """
    rate32 = np.float32(rate)
    step = np.float32(rate / (1.0 - beta1**time))
    scale = np.float32(1.0 / math.sqrt(1.0 - beta2**time))
    b1, b2 = np.float32(beta1), np.float32(beta2)
    rest1, rest2, epsilon = np.float32(1.0 - beta1), np.float32(1.0 - beta2), np.float32(EPSILON)
    for i in range(weights.shape[0]):
        g = gradient[i]
        m[i] = b1 * m[i] + rest1 * g
        v[i] = b2 * v[i] + rest2 * g * g
        weights[i] -= rate32 * decay[i] * weights[i] + step * m[i] / (np.sqrt(v[i]) * scale + epsilon)


class Adam:
    """The optimiser's memory: first and second moments and the number of steps taken."""

    def __init__(self, decay: F32) -> None:
        self.decay = decay
        self.m = np.zeros_like(decay)
        self.v = np.zeros_like(decay)
        self.time = 0

    def step(self, weights: F32, gradient: F32, rate: float) -> None:
        """Move the weights, (P,), against the gradient, (P,), in place."""
        self.time += 1
        adam_step(weights, gradient, self.decay, self.m, self.v, rate, BETA1, BETA2, self.time)


def clip(gradient: F32, limit: float) -> float:
    """Scale the gradient in place so that its norm is at most `limit`; return the norm it had."""
    norm = math.sqrt(float(np.sum(np.square(gradient, dtype=np.float64))))
    if norm > limit:
        gradient *= np.float32(limit / norm)
    return norm


def cosine(rate: float, progress: float) -> float:
    """Learning rate at `progress` from 0 to 1: half a cosine down to nothing (Loshchilov & Hutter 2017)."""
    return 0.5 * rate * (1.0 + math.cos(math.pi * progress))
