"""The coefficient of determination: how much of what varies is predicted."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_rnn.sample import F32

F64: TypeAlias = NDArray[np.float64]


def r2(truth: F32 | F64, predicted: F32 | F64) -> F64:
    """Of each output over the rows where truth and prediction are finite, (K,).

    1 - sum (y* - y)^2 / sum (y* - mean y*)^2; NaN where the truth does not vary.

    Args:
        truth: Targets y*, (N, K).
        predicted: Predictions y, (N, K).
    """
    y, p = truth.astype(np.float64), predicted.astype(np.float64)
    known = np.isfinite(y) & np.isfinite(p)
    centre = np.where(known, y, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    spread = (np.where(known, y - centre, 0.0) ** 2).sum(axis=0)
    wrong = (np.where(known, y - p, 0.0) ** 2).sum(axis=0)
    ratio: F64 = np.divide(wrong, spread, out=np.full_like(wrong, np.nan), where=spread > 0)
    return 1.0 - ratio


def r2_mean(truth: F32 | F64, predicted: F32 | F64) -> float:
    """Mean over the outputs that vary; NaN where none does."""
    each = r2(truth, predicted)
    varying = each[np.isfinite(each)]
    return float(varying.mean()) if len(varying) else float("nan")
