"""Samples that arrived together, stepped together: in one batched step, the same bits as one by one.

Only what is wholly in order goes this way; the rest is fed to its session alone, as is what follows it there.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from stream_rnn.errors import CountedError
from stream_rnn.interval import Interval
from stream_rnn.sample import F32, I64, NONE, Prediction, Rows, Sample, Steps
from stream_rnn.session.session import Clock, Session
from stream_rnn.session.shared import Shared
from stream_rnn.stepper import ALONE, MAX_SEQ, NO_SEQ, NO_TIME

ROOM = 256
"""Most samples of a batch."""
WRONG = -3
"""A seq that none expects: of a sample that does not fit the model."""

Answer: TypeAlias = list[Prediction] | CountedError
"""What became of a sample: predictions, or why it was refused."""


class Together:
    """Steps samples of many streams at once."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._xs = np.empty((ROOM, shared.predictor.inputs), dtype=np.float32)
        self._places, self._seqs, self._times, self._outcomes = np.empty((4, ROOM), dtype=np.int64)

    def feed(
        self,
        sessions: Sequence[Session],
        samples: Sequence[Sample],
        t_received_ns: Sequence[int],
        clock: Clock,
    ) -> list[Answer]:
        """Take samples in.

        Args:
            sessions: The session of each sample's stream; at most ROOM.
            samples: In the order they came.
            t_received_ns: When each arrived, epoch nanoseconds.
            clock: Read once after the step.

        Returns:
            What became of each.
        """
        shared, N, D = self._shared, len(samples), self._xs.shape[1]
        data, places, seqs, times = shared.memories.data, self._places, self._seqs, self._times
        places[:N] = [session.row for session in sessions]
        places[:N] *= shared.memories.stride
        seqs[:N] = [NO_SEQ if s.seq is None else s.seq if s.seq <= MAX_SEQ else WRONG for s in samples]
        times[:N] = [NO_TIME if sample.t_ns is None else sample.t_ns for sample in samples]
        xs = [sample.x for sample in samples]
        for i in [i for i, x in enumerate(xs) if x.shape[0] != D]:
            xs[i], seqs[i] = self._xs[i], WRONG
        np.concatenate(xs, out=self._xs.reshape(-1)[: N * D])
        ys = np.empty((N, shared.predictor.outputs), dtype=np.float32)
        shared.totals.stepped += shared.predictor.advance_many(
            data, places, seqs, times, N, self._xs, ys, self._outcomes
        )
        return _tell(sessions, samples, seqs[:N], self._outcomes[:N], ys, t_received_ns, clock)

    def feed_rows(
        self, sessions: Sequence[Session], rows: Rows, t_received_ns: list[int], clock: Clock
    ) -> Steps | list[Answer]:
        """Take in samples as they were read: rows as wide as the model, of any number.

        Args:
            sessions: The session of each row's stream.
            rows: The samples, in the order they came.
            t_received_ns: When each arrived, epoch nanoseconds.
            clock: Read once after the step.

        Returns:
            What the steps said where all of them were in order, else what became of each.
        """
        shared, N = self._shared, len(sessions)
        predictor, memories = shared.predictor, shared.memories
        places = np.array([session.row for session in sessions])
        places *= memories.stride
        seqs, times = rows.seqs.copy(), np.where(rows.times == NONE, NO_TIME, rows.times)
        ys, outcomes = np.empty((N, predictor.outputs), dtype=np.float32), np.empty(N, dtype=np.int64)
        shared.totals.stepped += predictor.advance_many(
            memories.data, places, seqs, times, N, rows.X, ys, outcomes
        )
        if outcomes.any() or shared.rules.deadline_ms:
            return _tell(sessions, rows.samples(), seqs, outcomes, ys, t_received_ns, clock)
        numbers, told, run, model = seqs.tolist(), rows.times.tolist(), shared.run, predictor.hash
        t_stepped_ns, interval = clock(), shared.interval
        bounds = None if interval is None else _bounds(sessions, interval, numbers, ys)
        return Steps(rows.streams, numbers, told, ys, run, model, t_received_ns, t_stepped_ns, bounds)


def _bounds(sessions: Sequence[Session], interval: Interval, seqs: list[int], ys: F32) -> F32:
    """The intervals of predictions, (N, 2, K)."""
    if not interval.pending:
        every: F32 = ys[:, None] + interval.margins
        return every
    rows = zip(sessions, seqs, ys, strict=True)
    return np.stack([session.bounds(interval, seq, y) for session, seq, y in rows])


def _tell(
    sessions: Sequence[Session],
    samples: Sequence[Sample],
    seqs: I64,
    outcomes: I64,
    ys: F32,
    t_received_ns: Sequence[int],
    clock: Clock,
) -> list[Answer]:
    """What became of each sample; what was not stepped is fed to its session alone."""
    t_stepped_ns = clock()
    rows = zip(sessions, samples, seqs.tolist(), outcomes.tolist(), ys, t_received_ns, strict=True)
    return [
        alone(session, sample, t_ns, clock)
        if outcome == ALONE
        else session.answer(
            sample, seq, y, session.note(outcome, sample.x) if outcome else 0, 0, t_ns, t_stepped_ns
        )
        for session, sample, seq, outcome, y, t_ns in rows
    ]


def alone(session: Session, sample: Sample, t_received_ns: int, clock: Clock) -> Answer:
    """Feed one sample to its session."""
    try:
        return session.feed(sample, t_received_ns, clock)
    except CountedError as error:
        return error
