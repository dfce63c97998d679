"""Recordings as features and windows: what is trained on, what is validated on, what is left for the test.

Features come from the same kernel that serves samples, so training sees the very numbers the daemon will see.
A window takes every bin-th row: the bins of one phase. It starts at any row, so every phase is trained on.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_rnn.errors import RecordingError
from stream_rnn.kernels._jit import hot
from stream_rnn.kernels.vector import integer
from stream_rnn.preprocess import BIN, Preprocess, preprocess_step
from stream_rnn.recordings.table import Recording, Span
from stream_rnn.sample import F32, I64

Rows = NDArray[np.bool_]


class Data(NamedTuple):
    """Rows of all recordings, one under the other.

    Attributes:
        x: Samples, (N, D).
        y: Targets, `horizon` rows ahead, (N, K); NaN where there is none, or where it is a test row's.
        spans: Rows of each recording; no state crosses a border.
        train: Rows to fit, (N,).
        validation: Rows to choose the epoch by, (N,).
    """

    x: F32
    y: F32
    spans: list[Span]
    train: Rows
    validation: Rows


@hot
def preprocess_run(stage: F32, xs: F32, window: F32, features: F32) -> None:
    """`preprocess_step` over a sequence.

    Args:
        stage: Of the preprocessing.
        xs: Samples, (T, C).
        window: The last samples and what else a stream keeps. Overwritten.
        features: What the network gets, (T, inputs). Overwritten.
    """
    size = integer(stage, BIN)
    for t in range(xs.shape[0]):
        preprocess_step(stage, 0, xs[t], 0, t, t % size, window, 0, features[t], 0)


def gather(recordings: list[Recording], horizon: int, validation: float) -> Data:
    """Put recordings under each other and split their rows.

    Args:
        recordings: At least one, of the same features, targets and rate.
        horizon: Rows between a sample and the target it predicts; below 0 the target is past.
        validation: Share of each recording's training rows, the last ones, that only choose the epoch.

    Raises:
        RecordingError: They do not fit together, or there is nothing to train on.
    """
    first = recordings[0]
    for other in recordings[1:]:
        _same(first, other)
    if first.y.shape[1] == 0:
        raise RecordingError(f"recording {first.name}: expected targets `y` to train on, got none")
    spans, train, chosen, targets = [], [], [], []
    at = 0
    for recording in recordings:
        for span in recording.spans():
            rows = slice(span.start, span.stop)
            spans.append(Span(span.name, at, at + span.stop - span.start))
            at = spans[-1].stop
            is_test = recording.is_test[rows]
            ahead = shifted(recording.y[rows], horizon)
            ahead[~np.isfinite(ahead)] = np.nan
            ahead[~is_test & (shifted(is_test[:, None], horizon)[:, 0] == 1)] = np.nan  # of a test row
            targets.append(ahead)
            fit, choose = _split(~is_test, validation)
            train.append(fit)
            chosen.append(choose)
    data = Data(
        x=np.concatenate([recording.x for recording in recordings]),
        y=np.concatenate(targets),
        spans=spans,
        train=np.concatenate(train),
        validation=np.concatenate(chosen),
    )
    if not data.train.any():
        raise RecordingError(f"recording {first.name}: expected rows to train on, got only test rows")
    return data


def shifted(y: NDArray[Any], horizon: int) -> F32:
    """Each row's value `horizon` rows later, or earlier where it is below 0; NaN beyond the ends.

    Args:
        y: Values of one unbroken stretch, (T, K).
        horizon: Rows from the one to the other.
    """
    later = np.full(y.shape, np.nan, dtype=np.float32)
    T, far = len(y), min(abs(horizon), len(y))
    if horizon >= 0:
        later[: T - far] = y[far:]
    else:
        later[far:] = y[: T - far]
    return later


def _same(a: Recording, b: Recording) -> None:
    for what in ("rate_hz", "x_names", "y_names"):
        if getattr(a, what) != getattr(b, what):
            one, other = str(getattr(a, what))[:60], str(getattr(b, what))[:60]
            raise RecordingError(f"recording {b.name}: expected {what} of {a.name}, {one}; got {other}")


def _split(rows: Rows, share: float) -> tuple[Rows, Rows]:
    """The training rows of one recording, and the last of them, kept for validation."""
    numbers = np.flatnonzero(rows)
    kept = numbers[len(numbers) - round(share * len(numbers)) :]
    validation = np.zeros_like(rows)
    validation[kept] = True
    return rows & ~validation, validation


def scale(data: Data, preprocess: Preprocess) -> Preprocess:
    """The same preprocessing with mean and deviation of each feature over the training rows.

    Args:
        data: All rows.
        preprocess: What to compute; only the lengths of its mean and deviation count.

    Raises:
        RecordingError: No bin is whole.
    """
    bin_rows = preprocess.bin
    whole = data.train.copy()
    for span in data.spans:
        whole[span.start : min(span.start + bin_rows - 1, span.stop)] = False  # their bins are not full
    if not whole.any():
        raise RecordingError(
            f"recording {data.spans[0].name}: expected {bin_rows} rows, one bin, to train on, got fewer"
        )
    centre = np.zeros_like(preprocess.mean)
    if preprocess.plain:  # float32 would lose digits of sums far from 0
        finite = np.where(np.isfinite(data.x), data.x, np.nan)[whole]
        counts = np.maximum(np.isfinite(finite).sum(axis=0), 1)
        centre = (bin_rows * np.nansum(finite, axis=0, dtype=np.float64) / counts).astype(np.float32)
    rough = msgspec.structs.replace(
        preprocess, mean=centre, std=np.ones_like(centre), logarithm=False, prior=0
    )
    values = features(rough, data)[whole].astype(np.float64)
    if preprocess.logarithm:
        values = np.log(values, out=np.full_like(values, np.nan), where=values > 0)
        values[:, np.isnan(values).all(axis=0)] = 0.0  # a silent channel: constant
    mean = (centre + np.nanmean(values, axis=0)).astype(np.float32)
    return msgspec.structs.replace(preprocess, mean=mean, std=np.nanstd(values, axis=0).astype(np.float32))


def features(preprocess: Preprocess, data: Data) -> F32:
    """What a network gets of every row, (N, inputs). Under `fail` a value is held: training needs one."""
    held = preprocess
    if preprocess.missing == "fail":
        held = msgspec.structs.replace(preprocess, missing="hold")
    values = np.empty((len(data.x), held.inputs), dtype=np.float32)
    for span in data.spans:
        rows = slice(span.start, span.stop)
        xs = np.ascontiguousarray(data.x[rows])
        window = np.zeros(held.bin * held.width + held.kept, dtype=np.float32)
        preprocess_run(held.stage(), xs, window, values[rows])
    return values


def runs(rows: Rows, spans: list[Span]) -> list[tuple[int, int]]:
    """First row and end of every stretch of chosen rows within one recording."""
    found = []
    for span in spans:
        edges = np.diff(np.concatenate([[False], rows[span.start : span.stop], [False]]).astype(np.int8))
        starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        found += [(span.start + int(a), span.start + int(b)) for a, b in zip(starts, stops, strict=True)]
    return found


def span_start(row: int, spans: list[Span]) -> int:
    """First row of the recording that a row is of."""
    return next(span.start for span in spans if span.start <= row < span.stop)


def warmed(rows: Rows, spans: list[Span], warm: int) -> list[tuple[int, int, int]]:
    """Of every stretch of chosen rows: where to warm a state from, its first row, its end.

    Args:
        rows: Which are chosen, (N,).
        spans: Rows of each recording; nothing before its first row warms.
        warm: Rows that warm a state, where there are so many.
    """
    return [(max(first - warm, span_start(first, spans)), first, end) for first, end in runs(rows, spans)]


class Windows:
    """Random windows of the training rows.

    Args:
        inputs: Features of every row, (N, D).
        targets: Targets, (N, K).
        stretches: First row and end of every stretch that a window may lie in.
        steps: Steps T of a window.
        stride: Rows from one step to the next.
        weights: Of each row, (N,): a window is drawn as often as its rows weigh; None: all as often.
    """

    def __init__(
        self,
        inputs: F32,
        targets: F32,
        stretches: list[tuple[int, int]],
        steps: int,
        stride: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self._inputs, self._targets = inputs, targets
        self._steps, self._stride = steps, stride
        length = steps * stride
        starts, ends = [], []
        for first, end in stretches:
            # of a stretch shorter than a window: its phases
            places = np.arange(first, max(first + stride, end - length + 1))
            starts.append(places)
            ends.append(np.full(len(places), end))
        self.starts: I64 = np.concatenate(starts)
        self.ends: I64 = np.concatenate(ends)
        self._drawn = None if weights is None else self._shares(weights, length)

    def _shares(self, weights: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Up to where in 0..1 each window is drawn, (W,): by the mean weight of its rows."""
        sums = np.concatenate([[0.0], np.cumsum(weights)])
        last = np.maximum(np.minimum(self.starts + length, self.ends), self.starts + 1)
        last = np.minimum(last, len(weights))
        upto = np.cumsum((sums[last] - sums[self.starts]) / (last - self.starts))
        shares: NDArray[np.float64] = upto / upto[-1]
        return shares

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[F32, F32]:
        """A batch of windows.

        Returns:
            Features, (T, B, D), and targets, (T, B, K), NaN where a stretch ended before its window did.
        """
        if self._drawn is None:
            chosen = rng.integers(0, len(self.starts), batch)
        else:
            chosen = np.searchsorted(self._drawn, rng.random(batch), side="right")
        rows = self.starts[chosen] + self._stride * np.arange(1, self._steps + 1)[:, None] - 1
        beyond = rows >= self.ends[chosen]
        rows = np.where(beyond, self.ends[chosen] - 1, rows)
        targets = self._targets[rows]
        targets[beyond] = np.nan
        return self._inputs[rows], targets
