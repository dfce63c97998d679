"""bfloat16: the upper half of a float32, eight digits of two in place of 24."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stream_rnn.kernels.vector import LANES
from stream_rnn.sample import F32

U16: TypeAlias = npt.NDArray[np.uint16]


def halved(panel: F32) -> U16:
    """The upper halves of a panel of columns (bfloat16), two vectors side by side.

    Of two vectors a and b a word holds a value of a in its lower half and one of b in its upper half: then an
    instruction a vector makes them float32 again. Of an odd number the last lies by itself.

    Args:
        panel: Whole vectors of columns, (D, N).

    Returns:
        (D, N), in the order in which they lie in memory.
    """
    D = len(panel)
    upper = (np.ascontiguousarray(panel).view(np.uint32) >> 16).astype(np.uint16).reshape(D, -1, LANES)
    paired = upper.shape[1] // 2 * 2
    pairs = np.stack([upper[:, 0:paired:2], upper[:, 1:paired:2]], axis=-1)
    return np.concatenate([pairs.reshape(D, -1), upper[:, paired:].reshape(D, -1)], axis=1)


def fits_half(weights: F32) -> bool:
    """Whether every weight is a bfloat16: the lower half of its bits is 0."""
    return not bool((np.ascontiguousarray(weights).view(np.uint32) & 0xFFFF).any())


def rounded(weights: F32) -> F32:
    """Each weight as the nearest bfloat16, to the even one of two: eight digits of two in place of 24."""
    bits = np.ascontiguousarray(weights).view(np.uint32)
    nearest = (bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) & np.uint32(0xFFFF0000)
    values: F32 = nearest.view(np.float32)
    return np.where(np.isfinite(weights), values, weights)
