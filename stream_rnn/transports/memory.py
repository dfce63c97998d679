"""A transport within the process, for tests and for embedding. It keeps the same contract as the others."""

import asyncio
import time
from functools import partial

from stream_rnn.transports.base import (
    Births,
    Deliver,
    Message,
    Publication,
    Report,
    no_births,
    no_report,
)


class MemoryTransport:
    """Delivers what is fed, keeps what is published.

    Attributes:
        connected: Set it False to play an outage: publications are refused and counted.
        published: Every (topic, payload) accepted, in order: births first, at the end the will.
        retained: The last retained payload of each topic.
        replies: Every (stream, payload) answered to a sender, in order.
        counters: received, published, dropped_disconnected.
    """

    def __init__(
        self, *, will: Publication | None = None, on_connect: Births = no_births, report: Report = no_report
    ) -> None:
        self.connected = True
        self.published: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self.replies: list[tuple[str, bytes]] = []
        self.counters = {"received": 0, "published": 0, "dropped_disconnected": 0}
        self._will = will
        self._on_connect = on_connect
        self._report = report
        self._deliver: Deliver | None = None
        self._ready = asyncio.Event()
        self._bug: asyncio.Future[None] | None = None

    async def serve(self, deliver: Deliver) -> None:
        """Take what is fed, until cancelled."""
        self._bug = asyncio.get_running_loop().create_future()
        for birth in self._on_connect():
            self.publish(*birth[:2], qos=birth.qos, retain=birth.retain)
        self._deliver = deliver
        self._report("connected", "memory")
        self._ready.set()
        try:
            await self._bug
        except asyncio.CancelledError:
            if self._will is not None:
                self.publish(*self._will[:2], qos=self._will.qos, retain=self._will.retain)
            raise
        finally:
            self._deliver = None
            self._ready.clear()

    @property
    def up(self) -> bool:
        """Whether `feed` may be called."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Return once `feed` may be called."""
        await self._ready.wait()

    def feed(self, stream: str, *payloads: bytes, topic: str = "") -> None:
        """Deliver these payloads as one read, now.

        Raises:
            RuntimeError: Nobody serves; await `ready()` first.
        """
        if self._deliver is None or self._bug is None:
            raise RuntimeError("feed: nobody serves this transport; await ready() first")
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        reply = partial(self._reply, stream)
        self.counters["received"] += len(payloads)
        try:
            self._deliver([Message(stream, p, t_received_ns, t_arrived_ns, reply, topic) for p in payloads])
        except Exception as exc:  # noqa: BLE001  # a bug: serve raises it, as in every transport
            if not self._bug.done():
                self._bug.set_exception(exc)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Keep one publication; False while `connected` is False."""
        del qos  # nothing is lost in memory
        if not self.connected:
            self.counters["dropped_disconnected"] += 1
            return False
        self.counters["published"] += 1
        self.published.append((topic, payload))
        if retain:
            self.retained[topic] = payload
        return True

    def _reply(self, stream: str, payload: bytes) -> None:
        self.replies.append((stream, payload))
