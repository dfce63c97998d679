"""What every transport promises: bytes in by callback, bytes out without waiting. No numpy, no models."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """One payload as it arrived.

    Attributes:
        stream: Stream key that the transport knows (from the topic, or one per connection).
        payload: The bytes, whole.
        t_received_ns: Epoch nanoseconds at arrival.
        t_arrived_ns: Monotonic nanoseconds at arrival, for durations.
        reply: Where the answer goes when the sender expects it back, else None.
        topic: The whole MQTT topic; empty where the medium has no topics.
        again: Whether the sender says that it may have come before.
    """

    stream: str
    payload: bytes
    t_received_ns: int
    t_arrived_ns: int
    reply: Callable[[bytes], None] | None = None
    topic: str = ""
    again: bool = False


class Publication(NamedTuple):
    """One payload to publish: a birth, a last will."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


Deliver: TypeAlias = Callable[[list[Message]], None]
"""Takes everything that one read brought, in order. Runs on the event loop and does not wait.

It raises only on a bug; the transport then closes, and `serve` raises the same exception.
"""

Report: TypeAlias = Callable[[str, str], None]
"""Takes (kind, detail) of something that happened: connected, disconnected, refused, dropped, ..."""

Births: TypeAlias = Callable[[], Sequence[Publication]]
"""Gives what is published first on every connection: status online, retained info."""


def no_report(kind: str, detail: str) -> None:
    """Report to nobody."""


def no_births() -> Sequence[Publication]:
    """Publish nothing on connecting."""
    return ()


class Transport(Protocol):
    """A source of messages; the same object is the sink where the medium has topics."""

    @property
    def counters(self) -> dict[str, int]:
        """How often each named thing happened; every name is there from the start."""

    @property
    def up(self) -> bool:
        """Whether messages can arrive now."""

    async def serve(self, deliver: Deliver) -> None:
        """Open, deliver, and reopen for ever, until cancelled; then close cleanly.

        Raises:
            TransportError: The address cannot work: refused credentials, a port in use.
        """

    async def ready(self) -> None:
        """Return once messages can arrive: subscribed, or listening."""


class Publisher(Protocol):
    """A sink of messages that never waits.

    Attributes:
        counters: As of `Transport`; what was not accepted is under `dropped_<reason>`.
    """

    counters: dict[str, int]

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand over one payload; False when it was not accepted, which is counted."""
