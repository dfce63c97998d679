"""The last answers of each stream as they were sent, kept to be sent again. No I/O but what it is given.

New ones are in memory, on their way to disk, or there. What is on its way goes with the states of one
checkpoint, in one transaction: a sample that a state contains has its answer beside it.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

from stream_rnn.errors import StateError
from stream_rnn.state.store import Kept
from stream_rnn.wire import AnyWire, WireName

NUMBERED: frozenset[AnyWire] = frozenset({"json", "msgpack", "frame"})
"""Encodings whose samples may carry a seq: no other sample is known again."""


class Answer(NamedTuple):
    """What was sent, and its encoding."""

    wire: WireName
    payload: bytes


class Due(NamedTuple):
    """What a checkpoint changes.

    Attributes:
        forgotten: Streams whose earlier answers go.
        kept: Answers to keep.
        oldest: Of each of their streams, the highest seq that need not be kept any more.
    """

    forgotten: set[str]
    kept: list[Kept]
    oldest: list[tuple[str, int]]


class Answers:
    """Answers that can be given again.

    Args:
        most: So many of the last numbers of each stream.
        find: Gives encoding and payload of an answer on disk, or None.
        unreadable: Takes stream and reason where the disk does not give it.

    Attributes:
        given: Answers given again.
    """

    def __init__(
        self,
        most: int,
        find: Callable[[str, int], tuple[str, bytes] | None],
        unreadable: Callable[[str, str], None],
    ) -> None:
        self.given = 0
        self._most, self._find, self._unreadable = most, find, unreadable
        self._new: dict[str, dict[int, Answer]] = {}
        self._going: dict[str, dict[int, Answer]] = {}  # of the checkpoint under way
        self._forgotten, self._leaving = set[str](), set[str]()  # on disk still; until this checkpoint

    def keep(self, wire: AnyWire, stream: str, seq: int, payload: bytes) -> None:
        """Keep what a sample is answered with; the oldest of its stream goes where there are too many."""
        if wire not in NUMBERED:
            return
        some = self._new.get(stream)
        if some is None or next(reversed(some)) >= seq:  # its producer started again, within one read
            some = self._new[stream] = {}
        some[seq] = Answer(cast("WireName", wire), payload)
        if len(some) > self._most:
            del some[next(iter(some))]

    def again(self, stream: str, seq: int) -> Answer | None:
        """What a sample was answered with, if that is kept; this counts."""
        found = self._look(stream, seq)
        self.given += found is not None
        return found

    def _look(self, stream: str, seq: int) -> Answer | None:
        for some in (self._new, self._going):
            if (found := some.get(stream, {}).get(seq)) is not None:
                return found
        if stream in self._forgotten or stream in self._leaving:
            return None
        try:
            put = self._find(stream, seq)
        except StateError as error:
            self._unreadable(stream, str(error))
            return None
        return None if put is None else Answer(cast("WireName", put[0]), put[1])

    def forget(self, stream: str) -> None:
        """Forget those of one stream."""
        self._new.pop(stream, None)
        self._going.pop(stream, None)
        self._forgotten.add(stream)

    def forget_all(self) -> None:
        """Forget those in memory; on disk they go with the states."""
        self._new.clear()
        self._going.clear()

    def due(self) -> Due:
        """What the checkpoint under way is to change; `settle` must follow."""
        self._going, self._new = self._new, {}
        self._leaving, self._forgotten = self._forgotten, set()
        going = self._going.items()
        kept = [Kept(stream, seq, *answer) for stream, some in going for seq, answer in some.items()]
        oldest = [(stream, next(reversed(some)) - self._most) for stream, some in going]
        return Due(self._leaving, kept, oldest)

    def settle(self, *, done: bool) -> None:
        """The checkpoint is on disk; or it is not, and all of it is due again."""
        if not done:
            self._forgotten |= self._leaving
            for stream, some in self._going.items():
                both = {**some, **self._new.get(stream, {})}
                self._new[stream] = dict(list(both.items())[-self._most :])
        self._going, self._leaving = {}, set()
