"""What a session keeps: numbers in its row of the shared memories, and the little that few ever need."""

import msgspec

from stream_rnn.interval import Adapted, Interval, Taken, around
from stream_rnn.memory import COUNT, LAST_SEQ, STATUS, STEPPED, T_NS, Memory
from stream_rnn.sample import F32
from stream_rnn.session.rules import Counters
from stream_rnn.session.shared import Shared, Unusual
from stream_rnn.session.stored import VERSION, Stored, waiting_of
from stream_rnn.stepper import FRESH, NO_TIME, ODD, SETTLED


class Kept:
    """What one stream's session keeps between samples.

    Attributes:
        stream: Key of the stream.
        row: Number of its row.
    """

    __slots__ = ("_adapted", "_shared", "_unusual", "row", "stream")

    def __init__(self, stream: str, shared: Shared) -> None:
        self.stream = stream
        self._shared = shared
        self._unusual: Unusual | None = None
        self._adapted: Adapted | None = None
        self.row = shared.memories.take() // shared.memories.stride
        self._set(LAST_SEQ, -1)

    @property
    def at(self) -> int:
        """Where its memory starts in `Memories.data`."""
        return self.row * self._shared.memories.stride

    @property
    def memory(self) -> Memory:
        """The stream's hidden state."""
        return self._shared.memories.of(self.at)

    @property
    def last_seq(self) -> int:
        """Number of the newest sample taken in; -1 before the first."""
        return self._get(LAST_SEQ)

    @property
    def stepped(self) -> int:
        """Samples stepped."""
        return self._get(STEPPED)

    @property
    def counters(self) -> Counters:
        """What happened to the stream's samples: a copy."""
        counters = Counters() if self._unusual is None else self._unusual.counters
        return msgspec.structs.replace(counters, stepped=self.stepped)

    def to_bytes(self) -> bytes:
        """Everything that what follows depends on."""
        unusual, t_ns = self._unusual or Unusual(), self._get(T_NS)
        stored = Stored(
            VERSION,
            self._shared.predictor.hash,
            self.stream,
            self.last_seq,
            None if t_ns == NO_TIME or self.last_seq < 0 else t_ns,
            self._last_x().tobytes(),
            unusual.late_seq,
            unusual.late_run,
            self._get(STATUS) == FRESH,
            unusual.gaps,
            waiting_of(unusual),
            self.counters,
            self.memory.to_bytes(),
            unusual.owed,
            b"" if self._adapted is None else self._adapted.to_bytes(),
            b"" if unusual.bins is None else unusual.bins.to_bytes(),
        )
        return msgspec.msgpack.encode(stored)

    def bounds(self, interval: Interval, seq: int, y: F32) -> F32:
        """The interval of a prediction, (2, K); where a truth may come, it waits for it."""
        if not interval.pending:
            return around(y, interval.margins)
        if self._adapted is None:
            self._adapted = Adapted(interval)
        both = around(y, self._adapted.margins)
        self._adapted.remember(seq, both)
        return both

    def take_truth(self, seq: int, truth: F32) -> Taken | None:
        """Learn from what a prediction should have been, (K,); None where none of this number waits."""
        return None if self._adapted is None else self._adapted.take(seq, truth)

    def begin_intervals_anew(self) -> None:
        """The margins of this stream's intervals are again those of the model."""
        self._adapted = None

    def _load(self, stored: Stored, unusual: Unusual, adapted: Adapted | None) -> None:
        """Go on from what `to_bytes` put away."""
        self.memory.load(stored.memory)
        self._set(LAST_SEQ, stored.last_seq)
        self._set(T_NS, NO_TIME if stored.last_t_ns is None else stored.last_t_ns)
        self._set(STEPPED, stored.counters.stepped)
        self._set(STATUS, FRESH if stored.fresh else ODD)
        self._unusual, self._adapted = unusual, adapted

    def _get(self, field: int) -> int:
        return self._shared.memories.get(self.at, field)

    def _set(self, field: int, value: int) -> None:
        self._shared.memories.set(self.at, field, value)

    def _mutable(self) -> Unusual:
        if self._unusual is None:
            self._unusual = Unusual()
        return self._unusual

    def _look_closely(self) -> None:
        if self._get(STATUS) == SETTLED:
            self._set(STATUS, ODD)

    def _count(self, name: str, by: int = 1) -> None:
        """Count for this stream and for the daemon."""
        if by:
            counters, totals = self._mutable().counters, self._shared.totals
            setattr(counters, name, getattr(counters, name) + by)
            setattr(totals, name, getattr(totals, name) + by)

    def _last_x(self) -> F32:
        """The newest sample as it came, (D,): a copy."""
        if self._unusual is not None and self._unusual.last_x is not None:
            return self._unusual.last_x
        window = self.memory.window
        last: F32 = window[(self._get(COUNT) - 1) % len(window)].copy()
        return last
