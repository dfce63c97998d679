"""All sessions by stream key: found, made and evicted in constant time. Pure: time is passed in."""

from collections import OrderedDict
from collections.abc import Iterator

from stream_rnn.errors import SampleError
from stream_rnn.predictor import Predictor
from stream_rnn.session.rules import Counters, Rules
from stream_rnn.session.session import Session

MAX_KEY = 200  # characters; a longer key is a mistake, and would not fit a topic
FORBIDDEN = frozenset("+#\0")  # an MQTT topic with these cannot be published to


class Sessions:
    """The sessions of one daemon, least recently used first.

    Attributes:
        totals: What happened to all samples, those of forgotten sessions among them.
        evicted: Sessions forgotten because they were idle.
    """

    def __init__(self, predictor: Predictor, rules: Rules, run: str, max_streams: int) -> None:
        self._predictor, self._rules, self._run = predictor, rules, run
        self._max_streams = max_streams
        self._table: OrderedDict[str, Session] = OrderedDict()
        self._used_ns: dict[str, int] = {}
        self.totals = Counters()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._table)

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
            session = self._make(stream)
        else:
            self._table.move_to_end(stream)
        self._used_ns[stream] = now_ns
        return session

    def peek(self, stream: str) -> Session | None:
        """The session of a stream, if there is one; this is no use of it."""
        return self._table.get(stream)

    def evict_idle(self, before_ns: int) -> list[str]:
        """Forget the sessions last used before a monotonic time; return their keys."""
        evicted = []
        for stream in self._table:
            if self._used_ns[stream] >= before_ns:
                break  # every later one was used later still
            evicted.append(stream)
        for stream in evicted:
            self.drop(stream)
        self.evicted += len(evicted)
        return evicted

    def adopt(self, predictor: Predictor, rules: Rules, max_streams: int) -> None:
        """Go on with another model and other rules: see `Session.adopt`."""
        self._predictor, self._rules, self._max_streams = predictor, rules, max_streams
        for session in self._table.values():
            session.adopt(predictor, rules)

    def restore(self, state: bytes, now_ns: int) -> Session:
        """Go on with a stream from where `Session.to_bytes` was called, whatever happened to it since.

        Raises:
            ModelError: Not a session's state, or one of another model.
            SampleError: There are as many streams as may be.
        """
        session = Session.from_bytes(state, self._predictor, self._rules, self._run, self.totals)
        session.mark_restored()
        if session.stream not in self._table:
            self._check(session.stream)
        self.drop(session.stream)
        self.totals.waiting += session.counters.waiting
        self._table[session.stream] = session
        self._used_ns[session.stream] = now_ns
        return session

    def __iter__(self) -> Iterator[Session]:
        """Every session, the least recently used first."""
        return iter(self._table.values())

    def drop(self, stream: str) -> None:
        """Forget one session, if it is there."""
        session = self._table.pop(stream, None)
        if session is not None:
            self.totals.waiting -= session.counters.waiting
            del self._used_ns[stream]

    def _make(self, stream: str) -> Session:
        self._check(stream)
        session = self._table[stream] = Session(stream, self._predictor, self._rules, self._run, self.totals)
        return session

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
