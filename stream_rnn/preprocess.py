"""From a sample to features: missing values, causal bins, z-score. State is explicit; it knows no network.

A bin of b samples slides by one sample: its sum is z-scored and goes to the hidden state whose turn it is,
one of b that take turns. Each of them sees bins that do not overlap, and every sample gets a prediction.
"""

import enum
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.vector import LANES, fma, integer, load_first, number, splat, store_first, total
from stream_rnn.sample import F32

Missing: TypeAlias = Literal["hold", "mean", "zero", "fail"]
"""What stands in for a missing or non-finite feature: last value, mean, zero, or nothing (no step)."""

HOLD, MEAN, NOTHING, FAIL = range(4)
MISSING_CODES: dict[Missing, int] = {"hold": HOLD, "mean": MEAN, "zero": NOTHING, "fail": FAIL}
ZERO = np.float32(0.0)

BIN, MISSING, WIDTH = range(0, 6, 2)
"""Settings in front of a stage, int64 in the place of two float32 each."""
CONSTANTS_AT = 8
MOST_DEVIATIONS = 16.0


class Outcome(enum.IntFlag):
    """What happened to one sample beside its step."""

    IMPUTED = 1
    FAILED = 2
    WARMUP = 4
    NAN = 8  # set by the step: an output is not finite


class Preprocess(msgspec.Struct, frozen=True):
    """The constants of a model's preprocessing.

    Attributes:
        bin: Samples summed into one bin.
        missing: Policy for missing and non-finite features.
        mean: Mean of each binned feature in the training rows, (D,).
        std: Standard deviation of each binned feature, (D,). 0 switches a constant feature off.
    """

    bin: int
    missing: Missing
    mean: F32
    std: F32

    @property
    def width(self) -> int:
        """Number of features D."""
        return int(self.mean.shape[0])

    @property
    def folds(self) -> bool:
        """Whether the z-score may go into the weights: no mean so far from 0 that float32 would lose digits.

        What is 0 before it, a count of no spikes, is then 0 at the network's input.
        """
        return bool((np.abs(self.mean) <= MOST_DEVIATIONS * self.std)[self.std > 0].all())

    def folded(self, W: F32, b: F32) -> tuple[F32, F32]:
        """(x - mean) / std W + b as x W' + b': W', (D, N), and b', (N,)."""
        scale = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        into = scale.astype(np.float64)[:, None] * W
        shifted = b - self.mean.astype(np.float64) @ into
        return into.astype(np.float32), shifted.astype(np.float32)

    def stage(self, *, folded: bool = False) -> F32:
        """What `preprocess_step` reads: settings and constants (3, D).

        The constants are the mean of a bin, 1 / std, and the mean of one sample.

        Args:
            folded: Whether the z-score is in the weights, where it `folds`: the first two are then 0 and 1.
        """
        scale = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        settings = np.array([self.bin, MISSING_CODES[self.missing], self.width, 0], dtype=np.int64)
        mean = self.mean
        if folded and self.folds:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        parts = (mean, scale, self.mean / np.float32(self.bin))
        return np.concatenate([settings.view(np.float32), *(part.astype(np.float32) for part in parts)])

    @property
    def window_shape(self) -> tuple[int, int]:
        """(bin, D): the last samples, whole; the bin slides over them. All zeros before the first."""
        return self.bin, self.width


@part
def all_finite(v: F32, at: int, N: int) -> bool:
    """Whether no value is NaN or infinite.

    Args:
        v: Holds N values from index `at`.
        at: See `v`.
        N: See `v`.
    """
    zeros = splat(ZERO)
    for j in range(0, N, LANES):
        zeros = fma(load_first(v, at + j, N - j), splat(ZERO), zeros)  # 0 times what is not finite is NaN
    return bool(total(zeros) == ZERO)


@part
def _fill(
    missing: int, x: F32, x_at: int, before: F32, before_at: int, row: F32, row_at: int, D: int
) -> None:
    """Copy a sample, with something in place of each value that is not finite: what was before, or 0."""
    for d in range(D):
        value = x[x_at + d]
        if not np.isfinite(value):
            value = ZERO if missing == NOTHING else number(before, before_at + d)
        row[row_at + d] = value


@part
def _standardise(
    stage: F32, at: int, window: F32, window_at: int, newest: int, size: int, D: int, out: F32, out_at: int
) -> None:
    """Features: (sum of the bin - mean) / std."""
    means = at + CONSTANTS_AT
    scales = means + D
    for j in range(0, D, LANES):
        binned, row = splat(ZERO), newest
        for _ in range(size):  # oldest first, always in this order: the same bits on every path
            row = row + 1 if row + 1 < size else 0
            binned = binned + load_first(window, window_at + row * D + j, D - j)
        mean, scale = load_first(stage, means + j, D - j), load_first(stage, scales + j, D - j)
        store_first(out, out_at + j, (binned - mean) * scale, D - j)


@part
def preprocess_step(
    stage: F32,
    at: int,
    x: F32,
    x_at: int,
    count: int,
    slot: int,
    window: F32,
    window_at: int,
    out: F32,
    out_at: int,
) -> int:
    """Take one sample in and give the features of its step.

    Args:
        stage: Holds what `Preprocess.stage` gave from index `at`.
        at: See `stage`.
        x: Holds the sample, D values from index `x_at`.
        x_at: See `x`.
        count: Samples taken in before this one.
        slot: count % bin.
        window: Holds the last samples, (bin, D), from index `window_at`. Overwritten unless the sample fails.
        window_at: See `window`.
        out: Features, z-scored sums of the bin, D values from index `out_at`. Overwritten.
        out_at: See `out`.

    Returns:
        `Outcome` bits. FAILED: a feature is missing, the policy replaces nothing, the state did not change.
    """
    size, missing, D = integer(stage, at + BIN), integer(stage, at + MISSING), integer(stage, at + WIDTH)
    row, outcome = window_at + slot * D, 0
    if all_finite(x, x_at, D):
        for j in range(0, D, LANES):
            store_first(window, row + j, load_first(x, x_at + j, D - j), D - j)
    elif missing == FAIL:
        return 2
    else:
        outcome = 1
        if missing == MEAN or count == 0:
            _fill(missing, x, x_at, stage, at + CONSTANTS_AT + 2 * D, window, row, D)
        else:
            before = slot - 1 if slot > 0 else size - 1
            _fill(missing, x, x_at, window, window_at + before * D, window, row, D)
    _standardise(stage, at, window, window_at, slot, size, D, out, out_at)
    if count + 1 < size:
        outcome |= 4
    return outcome
