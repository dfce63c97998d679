"""The least a step can take: a loop that only streams as many weights through multiply-adds.

Eight sums as wide as this processor's vectors, one load each a multiply-add, nothing stored: what a network
of these weights would take if it were nothing but its weights. It reads at four places at once: where weights
come from memory, that is a quarter faster than from end to end. No C compiler is needed; numba makes it.
"""

import numpy as np

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.vector import LANES, fma, load, splat, store
from stream_rnn.sample import F32

SUMS = 8
PLACES = 4
BLOCK = SUMS * LANES


@kernel
def stream_weights(weights: F32, factors: F32, sums: F32) -> None:
    """Add factors[p] weights to the sums, pass after pass: two vectors from each quarter in turn.

    Args:
        weights: Whole blocks, (n BLOCK,).
        factors: One for each pass over the weights, (P,).
        sums: (BLOCK,). Overwritten.
    """
    a, b, c, d = load(sums, 0), load(sums, LANES), load(sums, 2 * LANES), load(sums, 3 * LANES)
    e, f, g, h = load(sums, 4 * LANES), load(sums, 5 * LANES), load(sums, 6 * LANES), load(sums, 7 * LANES)
    second = weights.shape[0] // PLACES
    third, fourth = 2 * second, 3 * second
    for p in range(factors.shape[0]):
        factor = splat(factors[p])
        for at in range(0, second, 2 * LANES):
            a = fma(load(weights, at), factor, a)
            b = fma(load(weights, at + LANES), factor, b)
            c = fma(load(weights, second + at), factor, c)
            d = fma(load(weights, second + at + LANES), factor, d)
            e = fma(load(weights, third + at), factor, e)
            f = fma(load(weights, third + at + LANES), factor, f)
            g = fma(load(weights, fourth + at), factor, g)
            h = fma(load(weights, fourth + at + LANES), factor, h)
    store(sums, 0, a)
    store(sums, LANES, b)
    store(sums, 2 * LANES, c)
    store(sums, 3 * LANES, d)
    store(sums, 4 * LANES, e)
    store(sums, 5 * LANES, f)
    store(sums, 6 * LANES, g)
    store(sums, 7 * LANES, h)


def aligned_blocks(weights: F32) -> F32:
    """The weights from the beginning of a cache line on, padded with zeros to whole blocks."""
    size = -(-weights.size // BLOCK) * BLOCK
    room = np.zeros(size + 16, dtype=np.float32)
    first = -(room.ctypes.data // room.itemsize) % 16
    blocks: F32 = room[first : first + size]
    blocks[: weights.size] = weights.reshape(-1)
    return blocks
