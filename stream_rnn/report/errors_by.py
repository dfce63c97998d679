"""Where a model errs: by lag, recording, speed and direction, value and rate of change. Numbers only."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_rnn.model.model import Channel
from stream_rnn.recordings.table import Span
from stream_rnn.report.pieces import F64
from stream_rnn.sample import F32, I64
from stream_rnn.training.evaluate import Decoded
from stream_rnn.training.r2 import r2

LAG_S = 0.3
"""How far predictions are shifted against the truth, either way."""
MOST_LAGS = 60
BINS = 8
LEAST_ROWS = 20
"""A mean of fewer rows is not told."""
SHARE_SEEN = 0.98
"""Of the rows: the rest, of the greatest speed or rate, goes to the last bin."""
MOVING = 0.1
"""Of the speed that 95 of 100 rows stay below: what is slower has no direction."""

_VELOCITY = re.compile(r"(^|[^a-z])(vel|velocity|v[xyz])($|[^a-z])")


class Lags(NamedTuple):
    """How well predictions fit when they are moved in time.

    Attributes:
        samples: By how many samples the prediction is taken later than the truth, (L,).
        r2: Of each output, (L, K); NaN where the truth does not vary.
        mean: Over the outputs, (L,).
        rows: Rows compared, the same ones at each lag.
    """

    samples: I64
    r2: F64
    mean: F64
    rows: int

    @property
    def best(self) -> int:
        """Index of the lag that fits best; above zero, predictions come late."""
        return best_of(self.mean)

    @property
    def at_edge(self) -> bool:
        """Whether a longer lag might fit better still."""
        return len(self.samples) > 1 and self.best in {0, len(self.samples) - 1}

    @property
    def none(self) -> int:
        """Index of the lag 0."""
        return len(self.samples) // 2


class Profile(NamedTuple):
    """Errors by bins of something that is known of the truth.

    Attributes:
        of: What: `speed`, `direction`, ...
        unit: Of `edges`.
        output: Whose error; empty where all outputs are one vector.
        edges: Of the bins, (B + 1,).
        rows: Rows in each bin, (B,).
        rmse: Root mean squared error, in the output's unit, (B,); NaN of fewer than `LEAST_ROWS`.
        truth: Mean truth, or mean true speed, (B,); likewise.
        predicted: Mean prediction, or mean predicted speed, (B,); likewise.
        gain: Of a direction: how much of the true velocity is predicted along it, 1 is all, (B,).
        turned: Of a direction: median angle between truth and prediction, in degrees, (B,).
    """

    of: str
    unit: str
    output: str
    edges: F64
    rows: I64
    rmse: F64
    truth: F64
    predicted: F64
    gain: F64
    turned: F64

    @property
    def centres(self) -> F64:
        """Middle of each bin, (B,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2


class RecordingScore(NamedTuple):
    """How well one recording of several is decoded: R2 and root mean squared error of each output, (K,)."""

    name: str
    rows: int
    r2: F64
    rmse: F64


def is_planar_velocity(outputs: tuple[Channel, ...]) -> bool:
    """Whether the outputs are a velocity in the plane, by their names or units."""
    if len(outputs) != 2 or outputs[0].unit != outputs[1].unit:
        return False
    named = all(_VELOCITY.search(output.name.lower()) for output in outputs)
    return named or outputs[0].unit.endswith("/s")


def mean_of(values: F64) -> F64:
    """Mean over the last axis of what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1)
    mean: F64 = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def best_of(values: F64) -> int:
    """Index of the greatest, or the middle one where none is known."""
    return int(np.nanargmax(values)) if np.isfinite(values).any() else len(values) // 2


def best_first(scores: list[RecordingScore]) -> list[RecordingScore]:
    """From the greatest mean R2; those that have none come last."""
    return sorted(scores, key=lambda score: float(np.nan_to_num(-mean_of(score.r2), nan=np.inf)))


def lags(decoded: Decoded, pieces: list[Span], rate_hz: float) -> Lags:
    """Compare the truth with what was predicted some samples earlier and later, within each piece."""
    longest = max(piece.stop - piece.start for piece in pieces)
    most = min(max(2, round(LAG_S * rate_hz)), MOST_LAGS, (longest - 1) // 4)
    samples = np.arange(-most, most + 1)
    inner = [np.arange(piece.start + most, piece.stop - most) for piece in pieces]
    rows = np.concatenate(inner)
    truth = decoded.truth[rows]
    each = np.stack([r2(truth, decoded.y[rows + lag]) for lag in samples])
    return Lags(samples, each, mean_of(each), len(rows))


def by_recording(decoded: Decoded, pieces: list[Span]) -> list[RecordingScore]:
    """Scores of each recording, in their order; several pieces of one are one."""
    found = []
    for name in dict.fromkeys(piece.name for piece in pieces):
        rows = np.concatenate([np.arange(p.start, p.stop) for p in pieces if p.name == name])
        truth, y = decoded.truth[rows], decoded.y[rows]
        found.append(RecordingScore(name, len(rows), r2(truth, y), _rmse(truth, y)))
    return found


def profiles(
    decoded: Decoded, pieces: list[Span], outputs: tuple[Channel, ...], rate_hz: float
) -> list[Profile]:
    """Errors by speed and direction of a planar velocity; of other outputs by size and rate of change."""
    if is_planar_velocity(outputs):
        unit = outputs[0].unit
        return [_by_speed(decoded, unit), _by_direction(decoded)]
    rates = _rates(decoded.truth, pieces, rate_hz)
    found = []
    for k, output in enumerate(outputs):
        truth, y = decoded.truth[:, k : k + 1], decoded.y[:, k : k + 1]
        unit = f"{output.unit}/s" if output.unit else "per s"
        of_value, of_rate = _edges(truth[:, 0], low=True), _edges(rates[:, k])
        found.append(_profile("value", output.unit, output.name, truth[:, 0], of_value, truth, y))
        found.append(_profile("rate of change", unit, output.name, rates[:, k], of_rate, truth, y))
    return found


def _by_speed(decoded: Decoded, unit: str) -> Profile:
    speed = _length(decoded.truth)
    return _profile("speed", unit, "", speed, _edges(speed), decoded.truth, decoded.y)


def _by_direction(decoded: Decoded) -> Profile:
    """Eight directions, the first one around that of the first output."""
    truth = decoded.truth.astype(np.float64)
    speed, half = _length(truth), 180.0 / BINS
    angle = (np.degrees(np.arctan2(truth[:, 1], truth[:, 0])) + half) % 360.0 - half
    known = np.isfinite(speed)
    slow = MOVING * np.quantile(speed[known], 0.95) if known.any() else 0.0
    with np.errstate(invalid="ignore"):
        angle[~(speed > slow)] = np.nan
    edges: F64 = np.linspace(-half, 360.0 - half, BINS + 1)
    return _profile("direction", "degrees", "", angle, edges, truth, decoded.y)


def _edges(values: F32 | F64, *, low: bool = False) -> F64:
    """Equal bins from 0, or from where all but few rows lie, to where all but few rows lie."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.linspace(0.0, 1.0, BINS + 1)
    least = float(np.quantile(known, 1 - SHARE_SEEN)) if low else 0.0
    most = float(np.quantile(known, SHARE_SEEN))
    return np.linspace(least, most if most > least else least + 1.0, BINS + 1)


def _profile(of: str, unit: str, output: str, by: F32 | F64, edges: F64, truth: F32 | F64, y: F32) -> Profile:
    """Means over the rows of each bin; the first and the last hold what lies beyond."""
    known = np.isfinite(by) & np.isfinite(truth).all(axis=1) & np.isfinite(y).all(axis=1)
    where = np.clip(np.searchsorted(edges, by[known], side="right") - 1, 0, len(edges) - 2)
    t, p = truth[known].astype(np.float64), y[known].astype(np.float64)
    rows = np.bincount(where, minlength=len(edges) - 1)
    planar = t.shape[1] == 2

    def mean(values: F64) -> F64:
        sums = np.bincount(where, values, minlength=len(rows))
        means: F64 = np.divide(sums, rows, out=np.full(len(rows), np.nan), where=rows >= LEAST_ROWS)
        return means

    squares = mean((t**2).sum(axis=1))
    along = mean((t * p).sum(axis=1))
    gain: F64 = np.divide(along, squares, out=np.full(len(rows), np.nan), where=squares > 0)
    return Profile(
        of,
        unit,
        output,
        edges,
        rows.astype(np.int64),
        np.sqrt(mean(((p - t) ** 2).sum(axis=1))),
        mean(_length(t) if planar else t[:, 0]),
        mean(_length(p) if planar else p[:, 0]),
        gain,
        _turned(t, p, where, rows) if planar else np.full(len(rows), np.nan),
    )


def _turned(truth: F64, y: F64, where: I64, rows: NDArray[np.intp]) -> F64:
    """Median angle between truth and prediction in each bin, in degrees, (B,)."""
    cross = truth[:, 0] * y[:, 1] - truth[:, 1] * y[:, 0]
    angle = np.degrees(np.abs(np.arctan2(cross, (truth * y).sum(axis=1))))
    return np.array(
        [np.median(angle[where == b]) if rows[b] >= LEAST_ROWS else np.nan for b in range(len(rows))]
    )


def _rates(truth: F32, pieces: list[Span], rate_hz: float) -> F64:
    """Size of each output's change per second, (N, K); NaN in a piece of one row."""
    rates = np.full(truth.shape, np.nan)
    for piece in pieces:
        if piece.stop - piece.start > 1:
            rows = slice(piece.start, piece.stop)
            rates[rows] = np.abs(np.gradient(truth[rows].astype(np.float64), axis=0)) * rate_hz
    return rates


def _length(vectors: F32 | F64) -> F64:
    """(N,) of (N, 2)."""
    return np.hypot(vectors[:, 0].astype(np.float64), vectors[:, 1].astype(np.float64))


def _rmse(truth: F32, y: F32) -> F64:
    return np.sqrt(mean_of((y.astype(np.float64) - truth).T ** 2))
