"""Predictions as paths in a plane: integrated velocity, two outputs, or one and its rate of change."""

from typing import NamedTuple

import numpy as np

from stream_rnn.model.model import Channel
from stream_rnn.recordings.table import Span
from stream_rnn.report.errors_by import is_planar_velocity
from stream_rnn.report.pieces import F64
from stream_rnn.training.evaluate import Decoded

PATH_S = 4.0
"""Length of a path: a velocity that is integrated for longer tells of nothing but drift."""
MOST_SHOWN = 6
SMOOTH_S = 0.1
"""Over which a rate of change is averaged, before it is drawn."""


class Path(NamedTuple):
    """One stretch of time in the plane.

    Attributes:
        start: Its first row among the scored ones.
        truth: (n, 2).
        predicted: (n, 2).
    """

    start: int
    truth: F64
    predicted: F64


class Paths(NamedTuple):
    """Paths and what they tell.

    Attributes:
        kind: `velocity` (integrated), `plane` (two outputs), or `phase` (one, and its rate of change).
        axes: Names of the two axes, with units.
        shown: Some, at equal distances.
        total: How many there are, side by side.
        seconds: Length of each.
        drift: Of a velocity: median distance of the ends, in the unit of a position; NaN of other outputs.
        length: Of a velocity: median length of the true path.
    """

    kind: str
    axes: tuple[str, str]
    shown: list[Path]
    total: int
    seconds: float
    drift: float
    length: float


def paths_of(decoded: Decoded, pieces: list[Span], outputs: tuple[Channel, ...], rate_hz: float) -> Paths:
    """Cut the scored rows into paths of `PATH_S`, or less where no piece is so long; none lacks truth."""
    kind = "velocity" if is_planar_velocity(outputs) else "plane" if len(outputs) > 1 else "phase"
    longest = max(piece.stop - piece.start for piece in pieces)
    n = min(max(2, round(PATH_S * rate_hz)), longest)
    starts = [
        start
        for piece in pieces
        for start in range(piece.start, piece.stop - n + 1, n)
        if n > 1
        and np.isfinite(decoded.truth[start : start + n]).all()
        and np.isfinite(decoded.y[start : start + n]).all()
    ]
    found = [_path(decoded, start, n, kind, rate_hz) for start in starts]
    drift = length = float("nan")
    if kind == "velocity" and found:
        drift = float(np.median([np.hypot(*(path.predicted[-1] - path.truth[-1])) for path in found]))
        ways = [np.hypot(*np.diff(path.truth, axis=0).T).sum() for path in found]
        length = float(np.median(ways))
    chosen = sorted({round(at) for at in np.linspace(0, len(found) - 1, MOST_SHOWN)}) if found else []
    axes = _axes(outputs, kind)
    return Paths(kind, axes, [found[i] for i in chosen], len(found), n / rate_hz, drift, length)


def position_unit(outputs: tuple[Channel, ...]) -> str:
    """Of an integrated velocity."""
    return outputs[0].unit.removesuffix("/s")


def _axes(outputs: tuple[Channel, ...], kind: str) -> tuple[str, str]:
    if kind == "velocity":
        unit = position_unit(outputs)
        return _named(f"{outputs[0].name}, integrated", unit), _named(f"{outputs[1].name}, integrated", unit)
    if kind == "plane":
        return _named(outputs[0].name, outputs[0].unit), _named(outputs[1].name, outputs[1].unit)
    name, unit = outputs[0].name, outputs[0].unit
    return _named(name, unit), _named("rate of change", f"{unit}/s" if unit else "per s")


def _named(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _path(decoded: Decoded, start: int, n: int, kind: str, rate_hz: float) -> Path:
    truth, y = (array[start : start + n].astype(np.float64) for array in (decoded.truth, decoded.y))
    if kind == "velocity":
        truth, y = (_integrated(array, rate_hz) for array in (truth, y))
    elif kind == "plane":
        truth, y = truth[:, :2], y[:, :2]
    else:
        truth, y = (_phase(array[:, 0], rate_hz) for array in (truth, y))
    return Path(start, truth, y)


def _integrated(velocity: F64, rate_hz: float) -> F64:
    """Positions from the origin, (n, 2)."""
    position: F64 = np.cumsum(velocity, axis=0) / rate_hz
    moved: F64 = position - position[0]
    return moved


def _phase(values: F64, rate_hz: float) -> F64:
    """A value and its smoothed rate of change, (n, 2)."""
    width = min(max(1, round(SMOOTH_S * rate_hz)), len(values))
    counts = np.convolve(np.ones(len(values)), np.ones(width), mode="same")
    rates = np.gradient(values) * rate_hz if len(values) > 1 else np.zeros(len(values))
    smooth = np.convolve(rates, np.ones(width), mode="same") / counts
    return np.stack([values, smooth], axis=1)
