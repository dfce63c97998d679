"""bfloat16: the upper half of a float32, eight digits of two in place of 24."""

import numpy as np

from stream_rnn.kernels.vector import LANES
from stream_rnn.sample import F32


def halved(packed: F32) -> F32:
    """The upper halves of packed weights (bfloat16), two in the place of one; whole ones where LANES is 1."""
    if LANES == 1:
        return packed
    upper: F32 = (packed.view(np.uint32) >> 16).astype(np.uint16).view(np.float32)
    return upper


def fits_half(weights: F32) -> bool:
    """Whether every weight is a bfloat16: the lower half of its bits is 0."""
    return not bool((np.ascontiguousarray(weights).view(np.uint32) & 0xFFFF).any())


def rounded(weights: F32) -> F32:
    """Each weight as the nearest bfloat16, to the even one of two: eight digits of two in place of 24."""
    bits = np.ascontiguousarray(weights).view(np.uint32)
    nearest = (bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) & np.uint32(0xFFFF0000)
    values: F32 = nearest.view(np.float32)
    return np.where(np.isfinite(weights), values, weights)
