"""The scored rows as pieces of time without a hole, and as lines that a picture can hold."""

import itertools
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_rnn.recordings.table import Recording, Span
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import Decoded

F64: TypeAlias = NDArray[np.float64]

SHOWN_S = 25.0
"""Seconds of the stretch that is shown closely."""


class Line(NamedTuple):
    """Points of a line; NaN where it is broken.

    Attributes:
        t: Seconds, (P,).
        v: Values, (P,).
    """

    t: F64
    v: F64


def pieces_of(decoded: Decoded, recording: Recording) -> list[Span]:
    """Stretches of rows that follow each other in one recording: `start:stop` count into `decoded`."""
    rows = decoded.rows
    numbers = recording.recording[rows]
    borders = np.flatnonzero((np.diff(rows) != 1) | (np.diff(numbers) != 0)) + 1
    edges = [0, *borders.tolist(), len(rows)]
    return [
        Span(recording.recording_names[numbers[start]], start, stop)
        for start, stop in itertools.pairwise(edges)
    ]


def seconds_of(decoded: Decoded, pieces: list[Span], rate_hz: float) -> F64:
    """Time of each scored row, (N,): in its recording; of several pieces, since the first, end to end."""
    first = int(decoded.rows[0]) if len(pieces) == 1 else 0
    return (first + np.arange(len(decoded.rows))) / rate_hz


def typical(decoded: Decoded, rate_hz: float) -> slice:
    """The rows to show closely: of all stretches of `SHOWN_S`, side by side, the one of median error."""
    N, length = len(decoded.rows), round(SHOWN_S * rate_hz)
    if length >= N or length < 2:
        return slice(0, N)
    truth, wrong = decoded.truth.astype(np.float64), decoded.y.astype(np.float64) - decoded.truth
    scored = np.isfinite(wrong)
    spread = np.where(scored, truth - _mean(truth, scored), 0.0)
    scale = np.sqrt(np.maximum((spread**2).sum(axis=0) / np.maximum(scored.sum(axis=0), 1), 1e-30))
    errors = np.where(scored, wrong / scale, 0.0) ** 2
    starts = np.arange(0, N - length + 1, length)
    counts = np.add.reduceat(scored.sum(axis=1), starts)[: len(starts)]
    sums = np.array([errors[start : start + length].sum() for start in starts])
    shown = np.flatnonzero(2 * counts >= counts.max())
    means = sums[shown] / np.maximum(counts[shown], 1)
    start = int(starts[shown[np.argsort(means, kind="stable")[(len(shown) - 1) // 2]]])
    return slice(start, start + length)


def _mean(values: F64, scored: NDArray[np.bool_]) -> F64:
    total: F64 = np.where(scored, values, 0.0).sum(axis=0) / np.maximum(scored.sum(axis=0), 1)
    return total


def line(t: F64, values: F32 | F64, pieces: list[Span], rows: slice, pixels: int) -> Line:
    """The line through chosen rows, with no more than the least and the greatest value of each pixel.

    Args:
        t: Seconds of every row, (N,).
        values: Of every row, (N,); NaN breaks the line.
        pieces: Where else it is broken.
        rows: What to show.
        pixels: Width of the picture.
    """
    start, stop, _ = rows.indices(len(t))
    ts, vs = [], []
    for piece in pieces:
        a, b = max(piece.start, start), min(piece.stop, stop)
        if a < b:
            share = max(1, round(pixels * (b - a) / (stop - start)))
            times, held = _envelope(t[a:b], values[a:b].astype(np.float64), share)
            ts += [times, times[-1:]]
            vs += [held, np.array([np.nan])]
    return Line(np.concatenate(ts), np.concatenate(vs)) if ts else Line(np.empty(0), np.empty(0))


def _envelope(t: F64, values: F64, pixels: int) -> tuple[F64, F64]:
    """The least and the greatest value of each of so many equal parts, in the order they came."""
    if len(values) <= 2 * pixels:
        return t, values
    starts = np.arange(pixels) * len(values) // pixels
    times, held = [], []
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        part = values[start:stop]
        finite = np.flatnonzero(np.isfinite(part))
        if len(finite):
            ends = sorted({int(finite[part[finite].argmin()]), int(finite[part[finite].argmax()])})
        else:
            ends = [0]
        times.append(t[start:stop][ends])
        held.append(part[ends])
    return np.concatenate(times), np.concatenate(held)
