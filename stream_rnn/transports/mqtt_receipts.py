"""Acknowledgements that wait: the broker keeps a message of qos 1 until what it changed is safe. No I/O.

With receipts, publications of qos 1 are never given up either: what is not confirmed can be asked for, to be
published by a later run.
"""

from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import NamedTuple, TypeAlias

Unconfirmed: TypeAlias = tuple[int, str, bytes]
"""Serial number, topic and payload of what was published with qos 1 and is not confirmed."""


class Mark(NamedTuple):
    """What had been taken in at an instant: so many of one connection's messages."""

    connection: int
    messages: int


class Receipts:
    """The numbers of messages that are answered and not yet acknowledged.

    Args:
        wanted: Called when some begin to wait.
        settle: Makes safe what was taken in, and releases it; awaited before a goodbye.
        first: Serial number of the first publication.

    Attributes:
        settle: The same.
        serials: Gives serial numbers.
        unconfirmed: Gives what is published with qos 1 and not confirmed.
        keep: Has such publications published on the next connection.
    """

    def __init__(
        self, wanted: Callable[[], None], settle: Callable[[], Awaitable[object]], first: int = 0
    ) -> None:
        self.settle, self.serials = settle, count(first)
        kept: list[Unconfirmed] = []
        self.unconfirmed: Callable[[], list[Unconfirmed]] = kept.copy
        self.keep: Callable[[Iterable[Unconfirmed]], None] = kept.extend
        self._wanted = wanted
        self._send: Callable[[list[int]], None] = lambda _: None
        self._connection = 0
        self._waiting: list[int] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def adopt(
        self, unconfirmed: Callable[[], list[Unconfirmed]], keep: Callable[[Iterable[Unconfirmed]], None]
    ) -> None:
        """A client takes over what is not confirmed, from the one before it."""
        before = self.unconfirmed()
        self.unconfirmed, self.keep = unconfirmed, keep
        keep(before)

    def begin(self, send: Callable[[list[int]], None]) -> None:
        """A new connection: the broker sends again what was not acknowledged on the last one.

        Args:
            send: Acknowledges these numbers.
        """
        self._connection += 1
        self._waiting.clear()
        self._send = send

    def end(self) -> None:
        """The connection is gone: its numbers mean nothing on another one."""
        self.begin(lambda _: None)

    def take(self, numbers: Iterable[int]) -> None:
        """Have messages wait that were delivered and answered."""
        idle = not self._waiting
        self._waiting += numbers
        if idle:
            self._wanted()

    def mark(self) -> Mark:
        """What was taken in until now."""
        return Mark(self._connection, len(self._waiting))

    def release(self, mark: Mark) -> None:
        """Acknowledge what had been taken in at a mark; nothing where its connection is gone.

        Args:
            mark: The last one that was asked for.
        """
        if mark.connection != self._connection or not mark.messages:
            return
        safe = self._waiting[: mark.messages]
        del self._waiting[: mark.messages]
        self._send(safe)
        if self._waiting:
            self._wanted()
