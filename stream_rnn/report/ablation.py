"""Which inputs matter: what the score loses when one of them says nothing. Numbers only."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording, Span
from stream_rnn.report.errors_by import mean_of
from stream_rnn.report.pieces import F64
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import Decoded
from stream_rnn.training.r2 import r2
from stream_rnn.training.windows import span_start

MOST_ROWS = 20_000
"""Rows that are decoded again for each input: the first ones."""
STREAM = "ablation"


class Ablation(NamedTuple):
    """What each input is worth.

    Attributes:
        drop: R2 that an output loses without an input, (C, K).
        mean: The same over the outputs, (C,).
        silenced: What stood in for it: its `mean` in the training rows, or its own values of another `time`.
        rows: Rows decoded for each input.
    """

    drop: F64
    mean: F64
    silenced: Literal["mean", "time"]
    rows: int

    @property
    def order(self) -> list[int]:
        """Inputs from the one that is missed most."""
        return [int(i) for i in np.argsort(-np.nan_to_num(self.mean, nan=-np.inf), kind="stable")]


def ablate(
    predictor: Predictor,
    recording: Recording,
    decoded: Decoded,
    pieces: list[Span],
    progress: Callable[[int], None] = lambda _: None,
) -> Ablation:
    """Decode the scored rows again, once without each input; before each piece the stream had every input.

    Where features are sums of samples, an input is held at its mean in the training rows: the network sees
    nothing unusual. Of other statistics a constant would be a signal that no training row had; there the
    input's own values of half a piece later take its place (after Breiman 2001, who permuted them).

    Args:
        predictor: The model.
        recording: What was decoded.
        decoded: How it was decoded, with every input.
        pieces: Of it.
        progress: Told how many inputs are done.
    """
    plain = predictor.model.preprocess.plain
    pieces = _first(pieces, MOST_ROWS)
    rows = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
    truth = decoded.truth[rows]
    means = _training_means(recording)
    x = recording.x[decoded.rows]
    whole = r2(truth, decoded.y[rows])
    states = _states(predictor, recording, [int(decoded.rows[piece.start]) for piece in pieces])
    drop = np.empty((x.shape[1], truth.shape[1]))
    for c in range(len(drop)):
        kept = x[:, c].copy()
        for piece in pieces:
            part = slice(piece.start, piece.stop)
            x[part, c] = means[c] if plain else np.roll(kept[part], (piece.stop - piece.start) // 2)
        drop[c] = whole - r2(truth, _decode(predictor, x, pieces, states))
        x[:, c] = kept
        progress(c + 1)
    predictor.reset(STREAM)
    return Ablation(drop, mean_of(drop), "mean" if plain else "time", len(rows))


def _first(pieces: list[Span], most: int) -> list[Span]:
    """The first so many rows of the pieces."""
    found = []
    for piece in pieces:
        stop = min(piece.stop, piece.start + most)
        if stop > piece.start:
            found.append(piece._replace(stop=stop))
        most -= stop - piece.start
    return found


def _training_means(recording: Recording) -> F32:
    """Mean of each channel over the training rows, or all where there are none, (C,); 0 of no value."""
    rows = ~recording.is_test if not recording.is_test.all() else recording.is_test
    return np.nan_to_num(mean_of(recording.x[rows].T.astype(np.float64))).astype(np.float32)


def _states(predictor: Predictor, recording: Recording, firsts: list[int]) -> list[bytes]:
    """What the stream of a recording remembers before each of these rows, in ascending order."""
    spans, states, at = recording.spans(), [], -1
    for first in firsts:
        start = span_start(first, spans)
        if start > at:  # of the next recording
            predictor.reset(STREAM)
            at = start
        predictor.run(recording.x[at:first], stream=STREAM)
        states.append(predictor.state(STREAM))
        at = first
    return states


def _decode(predictor: Predictor, x: F32, pieces: list[Span], states: list[bytes]) -> F32:
    """Each piece from its state."""
    parts = []
    for piece, state in zip(pieces, states, strict=True):
        predictor.restore(state, STREAM)
        parts.append(predictor.run(x[piece.start : piece.stop], stream=STREAM))
    return np.concatenate(parts)
