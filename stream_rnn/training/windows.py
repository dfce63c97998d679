"""Recordings as features and windows: what is trained on, what is validated on, what is left for the test.

Features come from the same kernel that serves samples, so training sees the very numbers the daemon will see.
A window takes every bin-th row: the bins of one phase. It starts at any row, so every phase is trained on.
"""

from typing import NamedTuple

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
        y: Targets, `horizon` rows ahead, (N, K); NaN where there is none.
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
        horizon: Rows between a sample and the target it predicts.
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
            ahead = np.full_like(recording.y[rows], np.nan)
            ahead[: len(ahead) - horizon] = recording.y[rows][horizon:]
            ahead[~np.isfinite(ahead)] = np.nan
            targets.append(ahead)
            fit, choose = _split(~recording.is_test[rows], validation)
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
    """
    bin_rows = preprocess.bin
    whole = data.train.copy()
    for span in data.spans:
        whole[span.start : span.start + bin_rows - 1] = False  # their bins are not full
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


class Windows:
    """Random windows of the training rows.

    Args:
        inputs: Features of every row, (N, D).
        targets: Targets, (N, K).
        stretches: First row and end of every stretch that a window may lie in.
        steps: Steps T of a window.
        stride: Rows from one step to the next.
    """

    def __init__(
        self, inputs: F32, targets: F32, stretches: list[tuple[int, int]], steps: int, stride: int
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

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[F32, F32]:
        """A batch of windows.

        Returns:
            Features, (T, B, D), and targets, (T, B, K), NaN where a stretch ended before its window did.
        """
        chosen = rng.integers(0, len(self.starts), batch)
        rows = self.starts[chosen] + self._stride * np.arange(1, self._steps + 1)[:, None] - 1
        beyond = rows >= self.ends[chosen]
        rows = np.where(beyond, self.ends[chosen] - 1, rows)
        targets = self._targets[rows]
        targets[beyond] = np.nan
        return self._inputs[rows], targets
