"""All sessions by stream key: found, made and dropped in constant time. Pure: time is passed in."""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from stream_rnn.errors import CountedError, ModelError, SampleError
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

Find: TypeAlias = Callable[[str], tuple[bytes, bool] | None]
"""Gives what `Session.to_bytes` put away of a stream, if anything, and whether the stream was reset since."""


class Sessions:
    """The sessions of one daemon.

    Attributes:
        totals: What happened to all samples, those of forgotten sessions among them.
        packets: What happened to all packets of spikes, likewise.
        evicted: Sessions forgotten, or put away, because they were idle.
        restored: Sessions that came back from where they were put away.
        find: Where sessions are looked for that are not here; None: nowhere.
        unreadable: Takes stream and reason of what was found and is no session of this model.
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
        self._touched: set[str] = set()  # changed by something that is no use of them
        self.evicted = self.restored = 0
        self.find: Find | None = None
        self.unreadable: Callable[[str, str], None] = lambda _stream, _reason: None

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
            session = self._begin(stream)
        self._used_ns[session.row] = now_ns
        return session

    def seek(self, stream: str, now_ns: int) -> Session | None:
        """The session of a stream, here or put away; this is a use of it. None where there is none.

        Raises:
            SampleError: It was put away, and there are as many streams as may be.
        """
        known = stream in self._table or (self.find is not None and self.find(stream) is not None)
        return self.get(stream, now_ns) if known else None

    def _begin(self, stream: str) -> Session:
        """A session that is not here: put away before, or new."""
        self._check(stream)
        session = self._found(stream) or Session(stream, self._shared)
        self._table[stream] = session
        self._rows[session.row] = session
        return session

    def _found(self, stream: str) -> Session | None:
        """The session that was put away, flagged; None, and told, where it cannot be read."""
        found = None if self.find is None else self.find(stream)
        if found is None:
            return None
        state, reset = found
        try:
            session = Session.from_bytes(state, self._shared)
        except ModelError as error:
            self.unreadable(stream, str(error))
            return None
        session.mark(Flag.RESTORED)
        self.restored += 1
        self.totals.waiting += session.counters.waiting
        if reset:
            session.reset()
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

    def take_truth(self, stream: str, seq: int, truth: F32, now_ns: int = 0) -> Taken | None:
        """Learn from what a prediction should have been, (K,); None where none of this number waits.

        Args:
            stream: Key of the stream.
            seq: Number of the prediction.
            truth: What it should have been, (K,).
            now_ns: Monotonic time: where the session was put away, this is a use of it.

        Raises:
            SampleError: It was put away, and there are as many streams as may be.
        """
        session = self._table.get(stream)
        if self.find is not None:
            self._touched.add(stream)
            session = session or self.seek(stream, now_ns)
        return None if session is None else session.take_truth(seq, truth)

    @property
    def redelivering(self) -> bool:
        """Whether what is fed now may have been fed before; see `Shared`."""
        return self._shared.redelivering

    @redelivering.setter
    def redelivering(self, now: bool) -> None:
        self._shared.redelivering = now

    @property
    def renumbered(self) -> Callable[[str], None]:
        """Takes the key of a stream whose producer started again; see `Shared`."""
        return self._shared.renumbered

    @renumbered.setter
    def renumbered(self, take: Callable[[str], None]) -> None:
        self._shared.renumbered = take

    def carry(self, alike: tuple[str, ...]) -> None:
        """Take states of these models too where sessions are found: they mean the same."""
        self._shared.alike = alike

    def touch(self, *streams: str) -> None:
        """Note that these changed, though they were not used."""
        self._touched.update(streams)

    def changed_since(self, since_ns: int) -> list[str]:
        """Streams used at a monotonic time or later, and those touched since this was last asked."""
        used = self._used_ns[: self._shared.memories.begun]
        rows = np.flatnonzero(used >= since_ns)
        rows = rows[used[rows] < NEVER]
        changed = {session.stream for row in rows.tolist() if (session := self._rows[row]) is not None}
        changed.update(stream for stream in self._touched if stream in self._table)
        self._touched.clear()
        return list(changed)

    def peek(self, stream: str) -> Session | None:
        """The session of a stream, if there is one; this is no use of it."""
        return self._table.get(stream)

    def evict_idle(self, before_ns: int, spared: Container[str] = ()) -> list[str]:
        """Forget the sessions last used before a monotonic time; return their keys, the oldest use first.

        Args:
            before_ns: Monotonic time.
            spared: Streams to leave as they are; those touched and not asked for are left too.
        """
        idle = np.flatnonzero(self._used_ns < before_ns)
        oldest_first = idle[np.argsort(self._used_ns[idle], kind="stable")].tolist()
        evicted = [session.stream for row in oldest_first if (session := self._rows[row]) is not None]
        if self.find is not None:
            evicted = [stream for stream in evicted if stream not in self._touched and stream not in spared]
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
        self._touched.update(self._table)
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
