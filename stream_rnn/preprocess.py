"""From a sample to features: missing values, causal bins, z-score. State is explicit; it knows no network.

A bin of b samples slides by one sample: its sum is z-scored and goes to the hidden state whose turn it is,
one of b that take turns. Each of them sees bins that do not overlap, and every sample gets a prediction.
"""

import enum
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from stream_rnn.features import DIGIT, Statistic, logarithm_of, normalise, packed_codes, statistic_of
from stream_rnn.kernels._jit import part
from stream_rnn.kernels.vector import LANES, fma, integer, load_first, number, splat, store_first, total
from stream_rnn.sample import F32

Missing: TypeAlias = Literal["hold", "mean", "zero", "fail"]
"""What stands in for a missing or non-finite feature: last value, mean, zero, or nothing (no step)."""

HOLD, MEAN, NOTHING, FAIL = range(4)
MISSING_CODES: dict[Missing, int] = {"hold": HOLD, "mean": MEAN, "zero": NOTHING, "fail": FAIL}
ZERO = np.float32(0.0)

BIN, MISSING, WIDTH, STATISTICS, LOGARITHM, PRIOR, FEATURES, KEPT = range(0, 16, 2)
"""Settings in front of a stage, int64 in the place of two float32 each: samples of a bin, policy, channels C,
codes of the statistics (0: the plain sum), whether their logarithm is taken, how many samples the training
rows count as (0: nothing is normalised by the stream), features D, values kept between samples."""
CONSTANTS_AT = 16
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
        bin: Samples of one bin.
        missing: Policy for missing and non-finite samples.
        mean: Mean of each feature in the training rows, (D,).
        std: Standard deviation of each feature, (D,). 0 switches a constant feature off.
        statistics: What is computed of each channel over a bin: all channels' first one, then the next.
        logarithm: Whether the natural logarithm of each is taken.
        prior: As how many samples the training rows count beside the stream's own, by whose mean and
            deviation each feature is given a second time; 0: it is not.
    """

    bin: int
    missing: Missing
    mean: F32
    std: F32
    statistics: tuple[Statistic, ...] = ("sum",)
    logarithm: bool = False
    prior: int = 0

    @classmethod
    def unscaled(
        cls,
        channels: int,
        bin: int,  # noqa: A002 - as the field is called
        missing: Missing = "hold",
        statistics: tuple[Statistic, ...] = ("sum",),
        *,
        logarithm: bool = False,
        prior: int = 0,
    ) -> "Preprocess":
        """One whose features have mean 0 and deviation 1, whatever they are."""
        D = channels * len(statistics)
        zeros, ones = np.zeros(D, dtype=np.float32), np.ones(D, dtype=np.float32)
        return cls(bin, missing, zeros, ones, statistics, logarithm, prior)

    @property
    def width(self) -> int:
        """Number of channels C of a sample."""
        return len(self.mean) // len(self.statistics)

    @property
    def inputs(self) -> int:
        """Number of values that a network gets."""
        return len(self.mean) * (2 if self.prior else 1)

    @property
    def kept(self) -> int:
        """Number of values that a stream keeps between samples, beside its window."""
        return 2 * len(self.mean) if self.prior else 0

    @property
    def plain(self) -> bool:
        """Whether features are sums of samples and nothing else."""
        return self.statistics == ("sum",) and not self.logarithm and not self.prior

    @property
    def folds(self) -> bool:
        """Whether the z-score may go into the weights: no mean so far from 0 that float32 would lose digits.

        What is 0 before it, a count of no spikes, is then 0 at the network's input.
        """
        near = np.abs(self.mean) <= MOST_DEVIATIONS * self.std
        return self.plain and bool(near[self.std > 0].all())

    def folded(self, W: F32, b: F32) -> tuple[F32, F32]:
        """(x - mean) / std W + b as x W' + b': W', (D, N), and b', (N,)."""
        scale = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        into = scale.astype(np.float64)[:, None] * W
        shifted = b - self.mean.astype(np.float64) @ into
        return into.astype(np.float32), shifted.astype(np.float32)

    def stage(self, *, folded: bool = False) -> F32:
        """What `preprocess_step` reads: settings and constants.

        The constants are the mean of each feature and 1 / std, (D,), and the mean of one sample, (C,).

        Args:
            folded: Whether the z-score is in the weights, where it `folds`: the first two are then 0 and 1.
        """
        scale = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        codes = 0 if self.plain else packed_codes(self.statistics)
        settings = np.array(
            [
                self.bin,
                MISSING_CODES[self.missing],
                self.width,
                codes,
                self.logarithm,
                self.prior,
                len(self.mean),
                self.kept,
            ],
            dtype=np.int64,
        )
        mean, one = self.mean, self.mean[: self.width] / np.float32(self.bin)
        if folded and self.folds:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        parts = (mean, scale, one)
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
def _describe(
    stage: F32, at: int, window: F32, window_at: int, newest: int, size: int, C: int, out: F32, out_at: int
) -> None:
    """Features: (statistic of the bin, or its logarithm, - mean) / std."""
    means = at + CONSTANTS_AT
    D, logarithm = integer(stage, at + FEATURES), integer(stage, at + LOGARITHM)
    codes, d = integer(stage, at + STATISTICS), 0
    while codes > 0:
        for c in range(C):
            value = statistic_of(codes & 15, window, window_at + c, newest, size, C)
            mean, scale = number(stage, means + d), number(stage, means + D + d)
            z = logarithm_of(value, mean, scale) if logarithm else (value - mean) * scale
            store_first(out, out_at + d, splat(z), 1)
            d += 1
        codes >>= DIGIT


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
        x: Holds the sample, C values from index `x_at`.
        x_at: See `x`.
        count: Samples taken in before this one.
        slot: count % bin.
        window: Holds the last samples, (bin, C), from index `window_at`, and behind them what else the stream
            keeps. Overwritten unless the sample fails.
        window_at: See `window`.
        out: What the network gets, z-scored, from index `out_at`. Overwritten.
        out_at: See `out`.

    Returns:
        `Outcome` bits. FAILED: a feature is missing, the policy replaces nothing, the state did not change.
    """
    size, missing, C = integer(stage, at + BIN), integer(stage, at + MISSING), integer(stage, at + WIDTH)
    row, outcome = window_at + slot * C, 0
    if all_finite(x, x_at, C):
        for j in range(0, C, LANES):
            store_first(window, row + j, load_first(x, x_at + j, C - j), C - j)
    elif missing == FAIL:
        return 2
    else:
        outcome = 1
        if missing == MEAN or count == 0:
            means = at + CONSTANTS_AT + 2 * integer(stage, at + FEATURES)
            _fill(missing, x, x_at, stage, means, window, row, C)
        else:
            before = slot - 1 if slot > 0 else size - 1
            _fill(missing, x, x_at, window, window_at + before * C, window, row, C)
    filled = count + 2 - size
    if integer(stage, at + STATISTICS) == 0:
        _standardise(stage, at, window, window_at, slot, size, C, out, out_at)
    else:
        _describe(stage, at, window, window_at, slot, size, C, out, out_at)
        prior = integer(stage, at + PRIOR)
        if prior > 0:
            weight = np.float32(1.0 / (prior + filled)) if filled > 0 else ZERO
            D = integer(stage, at + FEATURES)
            normalise(window, window_at + size * C, D, weight, out, out_at)
    if filled < 1:
        outcome |= 4
    return outcome
