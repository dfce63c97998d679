"""From a sample to features: missing values, causal bins, z-score. State is explicit; it knows no network.

A bin of b samples slides by one sample: its sum is z-scored and goes to the hidden state whose turn it is,
one of b that take turns. Each of them sees bins that do not overlap, and every sample gets a prediction.
"""

import enum
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from stream_rnn.kernels._jit import kernel
from stream_rnn.sample import F32, I64

Missing: TypeAlias = Literal["hold", "mean", "zero", "fail"]
"""What stands in for a missing or non-finite feature: last value, mean, zero, or nothing (no step)."""

HOLD, MEAN, ZERO, FAIL = range(4)
MISSING_CODES: dict[Missing, int] = {"hold": HOLD, "mean": MEAN, "zero": ZERO, "fail": FAIL}


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

    def settings(self) -> I64:
        """The integers that `preprocess_step` reads: bin, policy."""
        return np.array([self.bin, MISSING_CODES[self.missing]], dtype=np.int64)

    def constants(self) -> F32:
        """The numbers that `preprocess_step` reads, (3, D): mean of a bin, 1 / std, mean of one sample."""
        scale = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        rows = np.stack([self.mean, scale, self.mean / np.float32(self.bin)])
        return np.ascontiguousarray(rows, dtype=np.float32)

    def new_state(self) -> F32:
        """State before the first sample, (bin + 1, D): the samples in the bin, and the last finite value."""
        state = np.zeros((self.bin + 1, self.width), dtype=np.float32)
        state[-1] = self.constants()[2]
        return state


@kernel
def fill_missing(missing: int, means: F32, x: F32, last: F32, row: F32) -> None:
    """Copy a sample, with something in place of each value that is not finite.

    Args:
        missing: HOLD, MEAN or ZERO.
        means: Mean of one sample, (D,).
        x: Sample, (D,).
        last: Last finite values, (D,). Overwritten where x is finite.
        row: The sample, whole, (D,). Overwritten.
    """
    for d in range(x.shape[0]):
        value = x[d]
        if np.isfinite(value):
            last[d] = value
        elif missing == HOLD:
            value = last[d]
        elif missing == MEAN:
            value = means[d]
        else:
            value = np.float32(0.0)
        row[d] = value


@kernel
def all_finite(v: F32) -> bool:
    """Whether no value is NaN or infinite.

    Args:
        v: Values, (N,).
    """
    finite = True
    for i in range(v.shape[0]):
        finite &= np.isfinite(v[i])
    return finite


@kernel
def preprocess_step(settings: I64, constants: F32, x: F32, count: int, state: F32, features: F32) -> int:
    """Take one sample in and give the features of its step.

    Args:
        settings: As from `Preprocess.settings`.
        constants: As from `Preprocess.constants`, (3, D).
        x: Sample, (D,).
        count: Samples taken in before this one.
        state: Bin and last finite values, (bin + 1, D). Overwritten, unless the sample fails.
        features: z-scored sum of the bin, (D,). Overwritten.

    Returns:
        `Outcome` bits. FAILED: a feature is missing, the policy replaces nothing, the state did not change.
    """
    size, missing = settings[0], settings[1]
    D = x.shape[0]
    outcome = 0 if all_finite(x) else 1
    if outcome == 1 and missing == FAIL:
        return 2
    slot = count % size
    fill_missing(missing, constants[2], x, state[size], state[slot])
    for d in range(D):
        features[d] = np.float32(0.0)
    for k in range(1, size + 1):  # oldest first, always in this order: the same bits on every path
        row = (slot + k) % size
        for d in range(D):
            features[d] += state[row, d]
    for d in range(D):
        features[d] = (features[d] - constants[0, d]) * constants[1, d]
    if count + 1 < size:
        outcome |= 4
    return outcome
