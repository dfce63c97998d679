"""What the samples of a bin say: statistics of each channel, their logarithm, how unusual for the stream.

Statistics after Hudgins, Parker, Scott 1993. The stream's own mean and deviation grow with every sample
(Welford 1962) from those of the training rows, which count as so many samples: no calibration is needed, and
the first predictions are as good as without.
"""

from typing import Literal, TypeAlias

import numpy as np

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.vector import number, splat, store_first
from stream_rnn.sample import F32

Statistic: TypeAlias = Literal["sum", "mean_absolute", "root_mean_square", "waveform_length"]
"""Of a channel over a bin: sum x, sum |x| / b, sqrt(sum x^2 / b), sum |x_i - x_(i-1)|."""

SUM, MEAN_ABSOLUTE, ROOT_MEAN_SQUARE, WAVEFORM_LENGTH = range(1, 5)
STATISTIC_CODES: dict[Statistic, int] = {
    "sum": SUM,
    "mean_absolute": MEAN_ABSOLUTE,
    "root_mean_square": ROOT_MEAN_SQUARE,
    "waveform_length": WAVEFORM_LENGTH,
}
DIGIT = 4  # bits of a code, where several are packed into one integer
TINY = np.float32(1e-30)
"""Least value whose logarithm is taken."""
LEAST = np.float32(-4.0)
"""Least z-score of a logarithm: a channel that fell silent has none."""
ZERO, ONE = np.float32(0.0), np.float32(1.0)


def packed_codes(statistics: tuple[Statistic, ...]) -> int:
    """The codes of statistics in one integer, the first one lowest."""
    return sum(STATISTIC_CODES[name] << (DIGIT * i) for i, name in enumerate(statistics))


@part
def statistic_of(code: int, window: F32, at: int, newest: int, size: int, C: int) -> np.float32:
    """One statistic of one channel, oldest sample first: the same bits on every path.

    Args:
        code: Which.
        window: Holds the last samples, (size, C), the channel's first from index `at`.
        at: See `window`.
        newest: Row of the newest sample.
        size: Samples of a bin.
        C: Channels.
    """
    total, before, row = ZERO, ZERO, newest
    for i in range(size):
        row = row + 1 if row + 1 < size else 0
        value = number(window, at + row * C)
        if code == MEAN_ABSOLUTE:
            total += abs(value)
        elif code == ROOT_MEAN_SQUARE:
            total += value * value
        elif code == WAVEFORM_LENGTH:
            total += abs(value - before) if i > 0 else ZERO
            before = value
        else:
            total += value
    if code == MEAN_ABSOLUTE:
        return total / np.float32(size)
    if code == ROOT_MEAN_SQUARE:
        total = np.sqrt(total / np.float32(size))
    return total


@part
def logarithm_of(value: np.float32, mean: np.float32, scale: np.float32) -> np.float32:
    """The z-score of a value's natural logarithm."""
    return max((np.log(max(value, TINY)) - mean) * scale, LEAST)


@part
def normalise(kept: F32, kept_at: int, D: int, weight: np.float32, out: F32, out_at: int) -> None:
    """How many of the stream's own deviations each feature is from the stream's own mean.

    Args:
        kept: Holds the stream's means, and behind them its variances less 1, D each from index `kept_at`.
            Overwritten.
        kept_at: See `kept`.
        D: Features.
        weight: Of this sample in them; 0 leaves them as they are.
        out: Holds the z-scores by the training rows, D from index `out_at`; behind them come these.
        out_at: See `out`.
    """
    for d in range(D):
        z, mean, excess = number(out, out_at + d), kept[kept_at + d], kept[kept_at + D + d]
        before = z - mean
        mean += before * weight
        excess += (before * (z - mean) - ONE - excess) * weight
        kept[kept_at + d], kept[kept_at + D + d] = mean, excess
        store_first(out, out_at + D + d, splat((z - mean) / np.sqrt(ONE + excess)), 1)
