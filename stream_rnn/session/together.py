"""Samples that arrived together, stepped together: one batched step over their streams, the same bits as one by one.

Only what is wholly in order goes this way; the rest is fed to its session alone. A stream's own samples keep their
order: a second one ends a batch.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from stream_rnn.errors import CountedError
from stream_rnn.sample import Prediction, Sample
from stream_rnn.session.ordinary import ALONE, NO_SEQ, NO_TIME, admit, settle
from stream_rnn.session.session import Clock, Session
from stream_rnn.session.shared import Shared

ROOM = 256
"""Most samples of a batch."""
WRONG = -2
"""A seq that none expects: of a sample that does not fit the model."""

Answer: TypeAlias = list[Prediction] | CountedError
"""What became of a sample: predictions, or why it was refused."""


class Together:
    """Steps samples of many streams at once."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._xs = np.empty((ROOM, shared.predictor.inputs), dtype=np.float32)
        self._places, self._seqs, self._times, self._outcomes = np.empty((4, ROOM), dtype=np.int64)
        admit(shared.memories.data, self._places, self._seqs, 0)  # compiled before the first sample comes
        settle(shared.memories.data, self._places, self._seqs, self._times, self._outcomes, 0)

    def feed(
        self, sessions: Sequence[Session], samples: Sequence[Sample], t_received_ns: Sequence[int], clock: Clock
    ) -> list[Answer]:
        """Take one sample each of some streams in.

        Args:
            sessions: The streams' sessions, each once; at most ROOM.
            samples: A sample of each.
            t_received_ns: When each arrived, epoch nanoseconds.
            clock: Read once after the step.

        Returns:
            What became of each.
        """
        shared, N = self._shared, len(samples)
        data, D = shared.memories.data, shared.predictor.inputs
        xs, places, seqs, times, outcomes = self._xs, self._places, self._seqs, self._times, self._outcomes
        for i, (session, sample) in enumerate(zip(sessions, samples, strict=True)):
            fits = sample.x.shape[0] == D
            if fits:
                xs[i] = sample.x
            places[i] = session.at
            seqs[i] = (NO_SEQ if sample.seq is None else sample.seq) if fits else WRONG
            times[i] = NO_TIME if sample.t_ns is None else sample.t_ns
        admitted = admit(data, places, seqs, N)
        ys = np.empty((N, shared.predictor.outputs), dtype=np.float32)
        if admitted:
            shared.predictor.advance_many(data, places, N, xs, ys, outcomes)
            shared.totals.stepped += settle(data, places, seqs, times, outcomes, N)
        t_stepped_ns = clock()
        answers: list[Answer] = []
        for i, (session, sample) in enumerate(zip(sessions, samples, strict=True)):
            if places[i] == ALONE:
                answers.append(alone(session, sample, t_received_ns[i], clock))
            else:
                flags = session.note(int(outcomes[i]), sample.x) if outcomes[i] else 0
                answers.append(
                    session.answer(sample, int(seqs[i]), ys[i], flags, 0, t_received_ns[i], t_stepped_ns)
                )
        return answers


def alone(session: Session, sample: Sample, t_received_ns: int, clock: Clock) -> Answer:
    """Feed one sample to its session."""
    try:
        return session.feed(sample, t_received_ns, clock)
    except CountedError as error:
        return error
