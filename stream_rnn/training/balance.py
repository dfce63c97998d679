"""How rare a row's target is: so that movement is not drowned by rest."""

import numpy as np
from numpy.typing import NDArray

from stream_rnn.sample import F32
from stream_rnn.training.windows import Rows

BINS = 12
LARGEST = 0.99  # share of rows whose distance from rest the bins cover: an outlier is no bin of its own
MOST = (
    20.0  # times as much as the commonest row that a rare one may weigh: a window of few rows is no data set
)


def rarity(targets: F32, train: Rows) -> NDArray[np.float64]:
    """Weight of each row, (N,): one over the number of training rows that are as far from rest as it is.

    Rest is the median target: no velocity, or the posture held most. 0 where a target is NaN.

    Args:
        targets: In standard deviations, (N, K).
        train: Rows to count, (N,).
    """
    known = np.asarray(np.isfinite(targets).all(axis=1))
    counted = known & train
    rest = np.median(targets[counted], axis=0)
    distance = np.linalg.norm(np.where(known[:, None], targets - rest, 0.0), axis=1)
    edges = np.linspace(0.0, float(np.quantile(distance[counted], LARGEST)), BINS + 1)[1:-1]
    place = np.searchsorted(edges, distance, side="right")
    count = np.bincount(place[counted], minlength=BINS)
    weight = count.max() / np.maximum(count, count.max() / MOST)
    result: NDArray[np.float64] = np.where(known, weight[place], 0.0)
    return result
