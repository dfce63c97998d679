"""All sessions by stream key: found, made and dropped in constant time. Pure: time is passed in."""

from collections.abc import Iterator, Sequence

import numpy as np

from stream_rnn.errors import CountedError, SampleError
from stream_rnn.interval import Interval, Taken
from stream_rnn.memory import Memories
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, I64, Flag, Rows, Sample, Steps
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Clock, Session
from stream_rnn.session.shared import Shared
from stream_rnn.session.together import ROOM, Answer, Together

MAX_KEY = 200  # characters; a longer key is a mistake, and would not fit a topic
FORBIDDEN = frozenset("+#\0")  # an MQTT topic with these cannot be published to
NEVER = np.iinfo(np.int64).max
NOTHING: Answer = []


class Sessions:
    """The sessions of one daemon.

    Attributes:
        totals: What happened to all samples, those of forgotten sessions among them.
        packets: What happened to all packets of spikes, likewise.
        evicted: Sessions forgotten because they were idle.
    """

    def __init__(
        self,
        predictor: Predictor,
        rules: Rules,
        run: str,
        max_streams: int,
        interval: Interval | None = None,
    ) -> None:
        self._shared = Shared(predictor, rules, run, max_streams, interval)
        self._together = Together(self._shared)
        self._max_streams = max_streams
        self._table: dict[str, Session] = {}
        self._rows: list[Session | None] = [None] * max_streams  # whose each one is
        self._used_ns: I64 = np.full(max_streams, NEVER)  # by row: looked through as one array
        self.totals, self.packets = self._shared.totals, self._shared.packets
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._table)

    @property
    def inputs(self) -> int:
        """Features of a sample."""
        return self._shared.predictor.inputs

    def __contains__(self, stream: str) -> bool:
        return stream in self._table

    def get(self, stream: str, now_ns: int) -> Session:
        """The session of a stream, made on its first sample.

        Args:
            stream: Key of the stream.
            now_ns: Monotonic time of this use.

        Raises:
            SampleError: The key cannot be one, or there are as many streams as may be.
        """
        session = self._table.get(stream)
        if session is None:
            self._check(stream)
            session = self._table[stream] = Session(stream, self._shared)
            self._rows[session.row] = session
        self._used_ns[session.row] = now_ns
        return session

    def feed(
        self,
        samples: Sequence[Sample | CountedError],
        t_received_ns: Sequence[int],
        now_ns: int,
        clock: Clock,
    ) -> list[Answer]:
        """Take in samples that arrived together, those of different streams in one step.

        Args:
            samples: In the order they came; those of one stream keep it. An error was refused before.
            t_received_ns: When each arrived, epoch nanoseconds.
            now_ns: Monotonic time.
            clock: Epoch nanoseconds, when asked.

        Returns:
            What became of each, in the same order: predictions, or why it was refused.
        """
        answers: list[Answer] = [NOTHING] * len(samples)
        places: list[int] = []
        sessions: list[Session] = []
        for i, sample in enumerate(samples):
            try:
                if isinstance(sample, CountedError):
                    raise sample
                sessions.append(self.get(sample.stream, now_ns))
                places.append(i)
            except CountedError as error:
                answers[i] = error
        for first in range(0, len(places), ROOM):
            some = places[first : first + ROOM]
            taken: list[Sample] = [samples[i] for i in some]  # type: ignore[misc]  # no error among them
            times = [t_received_ns[i] for i in some]
            fed = self._together.feed(sessions[first : first + ROOM], taken, times, clock)
            for i, answer in zip(some, fed, strict=True):
                answers[i] = answer
        return answers

    def feed_rows(
        self, rows: Rows, t_received_ns: list[int], now_ns: int, clock: Clock
    ) -> Steps | list[Answer]:
        """`feed`, of samples that were read as rows.

        Args:
            rows: In the order they came.
            t_received_ns: When each arrived, epoch nanoseconds.
            now_ns: Monotonic time.
            clock: Epoch nanoseconds, when asked.

        Returns:
            What the steps said where all were in order, else what became of each sample.
        """
        table = self._table
        try:
            sessions = [table[stream] for stream in rows.streams]
        except KeyError:  # a stream's first sample
            return self.feed(rows.samples(), t_received_ns, now_ns, clock)
        if rows.X.shape[1] != self._shared.predictor.inputs:
            return self.feed(rows.samples(), t_received_ns, now_ns, clock)
        self._used_ns[[session.row for session in sessions]] = now_ns
        return self._together.feed_rows(sessions, rows, t_received_ns, clock)

    def take_truth(self, stream: str, seq: int, truth: F32) -> Taken | None:
        """Learn from what a prediction should have been, (K,); None where none of this number waits."""
        session = self._table.get(stream)
        return None if session is None else session.take_truth(seq, truth)

    def peek(self, stream: str) -> Session | None:
        """The session of a stream, if there is one; this is no use of it."""
        return self._table.get(stream)

    def evict_idle(self, before_ns: int) -> list[str]:
        """Forget the sessions last used before a monotonic time; return their keys, the oldest use first."""
        idle = np.flatnonzero(self._used_ns < before_ns)
        oldest_first = idle[np.argsort(self._used_ns[idle], kind="stable")].tolist()
        evicted = [session.stream for row in oldest_first if (session := self._rows[row]) is not None]
        for stream in evicted:
            self.drop(stream)
        self.evicted += len(evicted)
        return evicted

    def adopt(
        self, predictor: Predictor, rules: Rules, max_streams: int, interval: Interval | None = None
    ) -> None:
        """Go on with another model, other rules, another most of streams and other intervals.

        Hidden states are carried where they mean the same to both models, else they start anew; the next
        prediction of each stream is flagged `reloaded`. Margins are carried where nothing about the intervals
        changed.
        """
        shared, before = self._shared, self._shared.predictor
        afresh = bool(before.model.card.unlike(predictor.model.card))
        shared.predictor, shared.rules, self._max_streams = predictor, rules, max_streams
        if afresh or max_streams != len(self._used_ns):
            self._move(afresh=afresh)
        self._together = Together(shared)
        if interval is None or shared.interval is None or not interval.same(shared.interval):
            shared.interval = interval
            for session in self._table.values():
                session.begin_intervals_anew()
        if before.hash != predictor.hash:
            for session in self._table.values():
                session.mark(Flag.RELOADED)

    def restore(self, state: bytes, now_ns: int) -> Session:
        """Go on with a stream from where `Session.to_bytes` was called, whatever happened to it since.

        Raises:
            ModelError: Not a session's state, or one of another model.
            SampleError: There are as many streams as may be.
        """
        stream = Session.stream_of(state, self._shared)
        if stream not in self._table:
            self._check(stream)
        self.drop(stream)
        session = self._table[stream] = Session.from_bytes(state, self._shared)
        self._rows[session.row] = session
        session.mark(Flag.RESTORED)
        self.totals.waiting += session.counters.waiting
        self._used_ns[session.row] = now_ns
        return session

    def __iter__(self) -> Iterator[Session]:
        """Every session, the least recently used first."""
        return iter(sorted(self._table.values(), key=lambda session: int(self._used_ns[session.row])))

    def drop(self, stream: str) -> None:
        """Forget one session, if it is there."""
        session = self._table.pop(stream, None)
        if session is not None:
            self.totals.waiting -= session.counters.waiting
            self._used_ns[session.row] = NEVER
            self._rows[session.row] = None
            self._shared.memories.give_back(session.at)

    def _move(self, *, afresh: bool) -> None:
        """Other memories: for states of another shape, or for more or fewer streams."""
        shared, used = self._shared, self._used_ns
        before, most = shared.memories, max(self._max_streams, len(self._table))
        self._used_ns = np.full(most, NEVER)
        shared.memories = Memories(shared.predictor.shape, most)
        self._rows = [None] * most
        for session in self._table.values():
            idle_since = used[session.row]
            session.move(before, afresh=afresh)
            self._rows[session.row] = session
            self._used_ns[session.row] = idle_since

    def _check(self, stream: str) -> None:
        if not stream or len(stream) > MAX_KEY or not FORBIDDEN.isdisjoint(stream):
            got = repr(stream[:40])
            raise SampleError(
                "stream", f"stream key: expected 1 to {MAX_KEY} characters without + # NUL, got {got}"
            )
        if len(self._table) >= self._max_streams:
            raise SampleError(
                "streams", f"stream {stream!r}: expected at most {self._max_streams} streams, got one more"
            )
