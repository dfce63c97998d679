"""How well a model decodes: a recording streamed sample by sample, as the daemon would, and scored."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_rnn.errors import RecordingError
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32
from stream_rnn.training.windows import Rows, shifted

Choice: TypeAlias = Literal["test", "train", "all"]


class Scores(msgspec.Struct, frozen=True):
    """Measures of each output over the scored rows, by its name.

    Attributes:
        r2: Coefficient of determination.
        rmse: Root mean squared error, in the output's unit.
        correlation: Pearson's.
        r2_mean: Mean of r2 over the outputs that vary.
        r2_median: Median over the recordings of each one's r2_mean; None where there is one.
        rows: Rows scored.
        recordings: Recordings they belong to.
    """

    r2: dict[str, float | None]
    rmse: dict[str, float | None]
    correlation: dict[str, float | None]
    r2_mean: float | None
    rows: int
    r2_median: float | None = None
    recordings: int = 1


class Decoded(NamedTuple):
    """What was predicted.

    Attributes:
        rows: Row numbers in the recording, (N,).
        y: Predictions, (N, K).
        truth: Targets of the same rows, `horizon` ahead, (N, K); below 0 it is behind.
        borders: Where in them each recording begins, from 0 on.
    """

    rows: NDArray[np.int64]
    y: F32
    truth: F32
    borders: tuple[int, ...] = (0,)


def check_fits(predictor: Predictor, recording: Recording) -> None:
    """Refuse a recording that this model cannot read.

    Raises:
        RecordingError: Another number of features or targets.
    """
    for what, expected, got in (
        ("features", predictor.inputs, recording.x.shape[1]),
        ("targets", predictor.outputs, recording.y.shape[1]),
    ):
        if expected != got:
            model = predictor.model.hash
            raise RecordingError(
                f"recording {recording.name}: expected {expected} {what} for model {model}, got {got}"
            )


def decode(predictor: Predictor, recording: Recording, choice: Choice) -> Decoded:
    """Stream each recording from its first row, as a daemon would get it, and keep the chosen rows.

    Args:
        predictor: The model.
        recording: One or more recordings.
        choice: Which rows are scored.

    Raises:
        RecordingError: The recording does not fit the model, or has no such rows.
    """
    check_fits(predictor, recording)
    rows = chosen_rows(recording, choice)
    horizon = predictor.model.card.horizon
    parts = []
    for _, start, stop in recording.spans():
        chosen = np.flatnonzero(rows[start:stop])
        if not len(chosen):
            continue
        predictor.reset("evaluate")
        ys = predictor.run(recording.x[start : start + chosen[-1] + 1], stream="evaluate")
        truth = shifted(recording.y[start:stop], horizon)
        parts.append(Decoded(start + chosen, ys[chosen], truth[chosen]))
    predictor.reset("evaluate")
    if not parts:
        raise RecordingError(f"recording {recording.name}: expected {choice} rows, got none")
    return merge(parts)


def merge(parts: list[Decoded]) -> Decoded:
    """Several recordings' predictions as one."""
    rows, ys, truths = (np.concatenate(column) for column in zip(*(part[:3] for part in parts), strict=True))
    firsts = np.cumsum([0, *(len(part.rows) for part in parts)])
    borders = [int(first) + at for first, part in zip(firsts, parts, strict=False) for at in part.borders]
    return Decoded(rows, ys, truths, tuple(borders))


def chosen_rows(recording: Recording, choice: Choice) -> Rows:
    """Which rows are scored, (T,)."""
    if choice == "all":
        return np.ones_like(recording.is_test)
    return recording.is_test if choice == "test" else ~recording.is_test


def score(decoded: Decoded, names: tuple[str, ...]) -> Scores:
    """Measure predictions against the truth; rows without a target are left out.

    Raises:
        RecordingError: There is no target at all.
    """
    if not np.isfinite(decoded.truth).any():
        raise RecordingError("evaluation: expected targets to score against, got none")
    columns = [_measures(decoded.truth[:, k], decoded.y[:, k]) for k in range(len(names))]
    r2s, rmses, correlations = zip(*columns, strict=True)
    cuts = list(decoded.borders[1:])
    each = [
        _r2_mean(*pair) for pair in zip(np.split(decoded.truth, cuts), np.split(decoded.y, cuts), strict=True)
    ]
    return Scores(
        r2=dict(zip(names, r2s, strict=True)),
        rmse=dict(zip(names, rmses, strict=True)),
        correlation=dict(zip(names, correlations, strict=True)),
        r2_mean=_mean(r2s),
        rows=len(decoded.rows),
        r2_median=_median(each) if cuts else None,
        recordings=len(each),
    )


def _r2_mean(truth: F32, predicted: F32) -> float | None:
    """Mean R2 of the outputs of one recording."""
    return _mean(_measures(truth[:, k], predicted[:, k])[0] for k in range(truth.shape[1]))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _measures(truth: F32, predicted: F32) -> tuple[float | None, float | None, float | None]:
    """R2, root mean squared error, correlation of one output."""
    rows = np.isfinite(truth)
    y, p = truth[rows].astype(np.float64), predicted[rows].astype(np.float64)
    if not len(y):
        return None, None, None
    rmse = float(np.sqrt(np.mean((y - p) ** 2)))
    spread = np.sum((y - y.mean()) ** 2)
    r2 = float(1.0 - np.sum((y - p) ** 2) / spread) if spread > 0 else None
    varies = spread > 0 and p.std() > 0
    return r2, rmse, float(np.corrcoef(y, p)[0, 1]) if varies else None
