"""By how many rows the targets trail the inputs: a straight line from one bin says, on the validation rows.

One bin alone, without the past before it: so its score is best where bin and target belong together. A
network, which sees the whole past, scores better the further back its target lies, whatever belongs together.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32
from stream_rnn.training.options import Options, unscaled
from stream_rnn.training.r2 import r2_mean
from stream_rnn.training.windows import features, gather, scale

FURTHEST_S = 0.5
"""How far targets may lead or trail: neural and muscular delays are shorter, and so are most filters'."""
COARSE = 10  # lags tried to each side at first; then every one about the best
RIDGE = 0.01  # of the features' variance: a silent channel must not make it singular
GAIN = 0.01
"""Least R2 that a lag must gain over none, and over a constant: less is chance."""


class Lag(NamedTuple):
    """The lag that was chosen, and the R2 on the validation rows of every one that was tried."""

    rows: int
    scores: dict[int, float]


def choose_lag(recordings: list[Recording], options: Options) -> Lag:
    """Choose a horizon: where one bin's features, in a straight line, tell most of the target.

    Args:
        recordings: At least one; their test rows are not looked at.
        options: Bins, features and validation rows are as they say.

    Raises:
        RecordingError: The recordings do not fit together, or no lag leaves rows to fit and to score.
        ConfigError: A policy for missing features that needs what these do not tell.
    """
    first = recordings[0]
    data = gather(recordings, 0, options.validation)
    plain = msgspec.structs.replace(options, prior_s=0.0)  # each feature once
    preprocess = scale(data, unscaled(first, options.bin_ms, plain))
    inputs = features(preprocess, data).astype(np.float64)
    thin = np.arange(len(inputs)) % preprocess.bin == 0  # neighbours say nearly the same
    scores: dict[int, float] = {}

    def score(lag: int) -> None:
        if lag not in scores:
            moved = gather(recordings, lag, options.validation)
            known = np.isfinite(moved.y).all(axis=1)
            fit, choose = moved.train & known & thin, moved.validation & known
            scores[lag] = _line_r2(inputs[fit], moved.y[fit], inputs[choose], moved.y[choose])

    furthest = max(1, round(FURTHEST_S * first.rate_hz))
    step = max(1, math.ceil(furthest / COARSE))
    for lag in range(-furthest // step * step, furthest + 1, step):
        score(lag)
    best = _best(scores)
    for lag in range(best - step + 1, best + step):
        score(lag)
    best = _best(scores)
    if scores[best] == -math.inf:
        raise RecordingError(f"recording {first.name}: expected rows to choose a lag by, got too few")
    if not scores[best] >= max(scores[0], 0.0) + GAIN:
        best = 0
    return Lag(best, dict(sorted(scores.items())))


def _best(scores: dict[int, float]) -> int:
    return max(scores, key=lambda lag: (scores[lag], -abs(lag)))


def _line_r2(X: np.ndarray, Y: F32, X_other: np.ndarray, Y_other: F32) -> float:
    """Mean R2, on other rows, of a ridge regression; -inf where there are too few.

    Args:
        X: Features, (N, D), of mean 0 and deviation 1.
        Y: Targets, (N, K).
        X_other: Features of the rows that are scored, (M, D).
        Y_other: Their targets, (M, K).
    """
    if len(X) <= 1 or len(X_other) <= 1:
        return -math.inf
    mean, centre = X.mean(axis=0), Y.mean(axis=0, dtype=np.float64)
    X = X - mean
    normal = X.T @ X + RIDGE * len(X) * np.eye(X.shape[1])
    W = np.linalg.solve(normal, X.T @ (Y - centre))
    found = r2_mean(Y_other, (X_other - mean) @ W + centre)
    return found if math.isfinite(found) else -math.inf
