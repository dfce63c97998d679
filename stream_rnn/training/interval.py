"""Intervals offline: calibrated on validation rows, and their coverage measured as a daemon's would be."""

import msgspec
import numpy as np

from stream_rnn.interval import Adapted, Interval, around, quantiles
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import Decoded
from stream_rnn.training.windows import Data


class Coverage(msgspec.Struct, frozen=True):
    """How one output's intervals were.

    Attributes:
        coverage: Share of truths inside.
        width: Mean width, in the output's unit.
        score: Mean interval score, in the output's unit: width, and 2 / (1 - coverage) times the distance of
            a truth that lies outside (Gneiting & Raftery 2007). The lower the better.
    """

    coverage: float | None
    width: float | None
    score: float | None


class Measured(msgspec.Struct, frozen=True):
    """Intervals as calibrated, and as they were moved by the truth.

    Attributes:
        nominal: The coverage they state.
        delay: Samples after which the truth of a prediction was known.
        fixed: As calibrated, by output.
        adapted: As moved.
    """

    nominal: float
    delay: int
    fixed: dict[str, Coverage]
    adapted: dict[str, Coverage]


def calibrated(model: Model, data: Data) -> Model:
    """The model with quantiles of its residuals on the validation rows, in streams from each first row on.

    So they would be served. These rows chose the epoch too: the residuals are a little small, which the truth
    online corrects.

    Args:
        model: Fitted.
        data: What it was fitted to.
    """
    truth, ys = validated(model, data)
    return msgspec.structs.replace(model, residuals=quantiles(truth - ys) if len(ys) else None)


def validated(model: Model, data: Data) -> tuple[F32, F32]:
    """Targets and predictions of the validation rows, (N, K) each, of recordings streamed from the first row.

    Args:
        model: Fitted.
        data: What it was fitted to.
    """
    predictor, K = Predictor(model), data.y.shape[1]
    truth, predicted = [data.y[:0]], [np.empty((0, K), dtype=np.float32)]
    for span in data.spans:
        rows = span.start + np.flatnonzero(data.validation[span.start : span.stop])
        if len(rows):
            predictor.reset()
            ys = predictor.run(data.x[span.start : rows[-1] + 1])
            truth.append(data.y[rows])
            predicted.append(ys[rows - span.start])
    return np.concatenate(truth), np.concatenate(predicted)


def bounds_of(decoded: Decoded, interval: Interval, delay: int) -> F32:
    """The intervals of predictions in order, (N, 2, K), each when the truth `delay` samples before is known.

    The same arithmetic as in a daemon: the same bits. All rows are one stream to them.
    """
    adapted, bounds = Adapted(interval), np.empty((len(decoded.y), *interval.margins.shape), np.float32)
    for i, y in enumerate(decoded.y):
        if i >= delay:
            adapted.learn(bounds[i - delay], decoded.truth[i - delay])
        bounds[i] = around(y, adapted.margins)
    return bounds


def measure(
    decoded: Decoded, interval: Interval, adapted: F32, delay: int, names: tuple[str, ...]
) -> Measured:
    """What the intervals were worth; rows without a truth are left out.

    Args:
        decoded: Predictions and truth.
        interval: How intervals are made.
        adapted: As `bounds_of` gives them.
        delay: As it was told.
        names: Of the outputs.
    """
    fixed = decoded.y[:, None] + interval.margins
    by_name = [
        {
            name: _worth(decoded.truth[:, k], bounds[:, :, k], interval.coverage)
            for k, name in enumerate(names)
        }
        for bounds in (fixed, adapted)
    ]
    return Measured(interval.coverage, delay, *by_name)


def _worth(truth: F32, bounds: F32, coverage: float) -> Coverage:
    """Of one output: truths, (N,), and intervals, (N, 2)."""
    rows = np.isfinite(truth) & np.isfinite(bounds).all(axis=1)
    if not rows.any():
        return Coverage(None, None, None)
    y, low, high = (values[rows].astype(np.float64) for values in (truth, bounds[:, 0], bounds[:, 1]))
    outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    score = high - low + 2.0 / (1.0 - coverage) * outside
    inside = (low <= y) & (y <= high)
    return Coverage(float(inside.mean()), float((high - low).mean()), float(score.mean()))
