"""Our own MQTT client: one read is parsed whole, delivered in one call and answered with one write.

Between a sample and its prediction there is no queue, no task switch and no wait for the selector. The bytes
are `mqtt_parser`'s and `mqtt_packets`' affair, what is not confirmed yet `mqtt_outbox`'s; here are the socket,
the clock and the order of things.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from stream_rnn.transports.base import Message, Publication
from stream_rnn.transports.mqtt_link import (
    ANSWER_S,
    INFLIGHT,
    MAX_BATCH,
    MOST_HELD,
    NODELAY,
    Command,
    Intake,
    LostError,
    lost_by,
    no_answer,
)
from stream_rnn.transports.mqtt_outbox import Outbox
from stream_rnn.transports.mqtt_packets import DISCONNECT, PINGREQ, Writer, is_qos0_publish, puback
from stream_rnn.transports.mqtt_parser import (
    Accepted,
    Confirmed,
    Ended,
    Event,
    Malformed,
    Parser,
    Pong,
    Published,
    Refused,
    Subscribed,
)
from stream_rnn.transports.mqtt_properties import CORRELATION_DATA, RESPONSE_TOPIC
from stream_rnn.transports.mqtt_reasons import FINAL_REASONS, reason_name
from stream_rnn.transports.mqtt_settings import MqttSettings

MAX_BYTES = 1 << 26  # of a packet; a snapshot of the largest network fits
LARGE_READ = 1 << 16  # uvloop follows a read that fills its buffer with up to 31 more, and nothing else runs
SILENT_TICKS = 3  # half keepalives without a sign of life: the connection is dead


class BuiltinClient:
    """Makes the connections of one transport, and keeps between them what a persistent session remembers.

    Args:
        settings: How to reach the broker.
        will: Published by the broker when we vanish.
        hold: Whether to leave at the broker what there is no room to answer.
    """

    def __init__(self, settings: MqttSettings, will: Publication | None, *, hold: bool) -> None:
        self._settings, self._will, self._hold = settings, will, hold
        self._outbox = Outbox(INFLIGHT)

    def __call__(self, intake: Intake, tls: ssl.SSLContext | None) -> "BuiltinLink":
        """One more connection."""
        return BuiltinLink(self._settings, self._will, intake, tls, self._outbox, hold=self._hold)


class BuiltinLink(asyncio.Protocol):
    """One connection; see `Link`."""

    def __init__(
        self,
        settings: MqttSettings,
        will: Publication | None,
        intake: Intake,
        tls: ssl.SSLContext | None,
        outbox: Outbox,
        *,
        hold: bool,
    ) -> None:
        new = settings.version == "5"
        self._settings, self._will, self._tls = settings, will, tls
        self._intake = intake
        self._resolve, self._deliver = intake.resolve, intake.deliver
        self._outbox = outbox
        self._parser = Parser(new=new, max_bytes=MAX_BYTES)
        self._writer = Writer(new=new)
        self._hold, self._max_outgoing = hold, settings.max_outgoing
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._accepted: asyncio.Future[Accepted] = self._loop.create_future()
        self._progress = asyncio.Event()  # something was confirmed
        self._subscribing: dict[int, asyncio.Future[int]] = {}
        self._transport: asyncio.Transport | None = None
        self._early: list[Published] | None = []  # came before the births were sent; None after
        self._batch: list[Message] = []
        self._taken: list[int] = []  # numbers of messages of qos 1 that the broker still keeps for us
        self._out: list[bytes] = []
        self._stuck = 0  # publications of qos 0 among what the socket did not take at once
        self._declined = 0
        self._full = False  # the socket takes nothing
        self._paused = False  # the socket is not read
        self._reading = self._write_due = self._turn_due = False
        self._leaving = self._ending = False
        self._heard = self._spoke = False
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def socket(self) -> Any:  # noqa: ANN401  # see Link
        """See `Link`."""
        assert self._transport is not None
        return self._transport.get_extra_info("socket")

    # ---- from opening to end

    async def connect(self) -> None:
        """See `Link`."""
        settings = self._settings
        host, port = settings.address
        name = host if self._tls is not None else None
        try:
            async with asyncio.timeout(ANSWER_S):
                sock = await _dial(host, port)
                await self._loop.create_connection(
                    lambda: self, sock=sock, ssl=self._tls, server_hostname=name
                )
                self._out.append(
                    self._writer.connect(
                        client_id=settings.client_id or "",
                        clean=settings.clean_session,
                        keepalive_s=settings.keepalive_s,
                        username=settings.username,
                        password=settings.password,
                        will=self._will,
                        session_expiry_s=0 if settings.clean_session else settings.session_expiry_s,
                        max_bytes=MAX_BYTES,
                    )
                )
                self._write()
                self._session = await self._accepted
        except TimeoutError:
            raise no_answer() from None
        except OSError as error:
            raise lost_by(error) from None
        asked_s = self._session.keepalive_s
        keepalive_s = settings.keepalive_s if asked_s is None else asked_s
        if keepalive_s:
            self._timer = self._loop.call_later(keepalive_s / 2, self._tick, keepalive_s / 2)

    async def until_lost(self) -> None:
        """See `Link`."""
        await asyncio.shield(self._lost)

    async def greet(self, births: Sequence[Publication], filters: Mapping[str, int]) -> dict[str, str]:
        """See `Link`."""
        self._outbox.resume(self._session.receive_maximum or INFLIGHT, known=self._session.session_present)
        for birth in births:
            self._publish_first(birth)
        self._out += self._outbox.due()
        for topic, qos in filters.items():
            number = self._outbox.number()
            self._subscribing[number] = self._loop.create_future()
            self._out.append(self._writer.subscribe(number, topic, qos))
        early, self._early = self._early or [], None
        self._take(early)
        try:
            async with asyncio.timeout(ANSWER_S):
                codes = [await self._or_lost(answer) for answer in list(self._subscribing.values())]
        except TimeoutError:
            raise no_answer() from None
        self._subscribing.clear()
        return {t: reason_name(code) for t, code in zip(filters, codes, strict=True) if code >= 128}

    async def say_goodbye(self, will: Publication | None) -> None:
        """See `Link`."""
        self._leaving = True
        self._read_or_pause()  # what still comes are confirmations
        await self._until_confirmed()
        self._ending = True  # nothing goes after the will
        if will is not None:
            self._publish_first(will)
            await self._until_confirmed()
        self._out.append(DISCONNECT)
        self._write()
        if self._transport is not None:
            self._transport.close()
            await asyncio.shield(self._closed)

    async def close(self) -> int:
        """See `Link`."""
        self._leaving = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
            await asyncio.wait({self._closed}, timeout=1.0)
        for waiting in (self._lost, self._accepted, *self._subscribing.values()):
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # seen already, or of no interest any more
        given_up = self._stuck + self._declined + sum(map(is_qos0_publish, self._out))
        return given_up + (self._outbox.clear() if self._settings.clean_session else 0)

    async def _until_confirmed(self) -> None:
        """Return once everything of qos 1 is confirmed, and what was taken in is answered."""
        while True:
            self._progress.clear()
            self._turn()
            if not self._outbox and not self._batch:
                return
            await self._or_lost(asyncio.ensure_future(self._progress.wait()))

    async def _or_lost(self, wanted: "asyncio.Future[Any]") -> Any:  # noqa: ANN401  # whatever is wanted
        """Wait for something that only a living connection brings."""
        try:
            await asyncio.wait({wanted, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not wanted.done():
                wanted.cancel()
        return self._lost.result() if wanted.cancelled() else wanted.result()

    # ---- what we say

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool = False, correlation: bytes | None = None
    ) -> str:
        """See `Link`."""
        if len(self._out) + self._stuck >= self._max_outgoing:
            return "dropped_full"
        written = self._writer.topic(topic)
        if written is None:
            return "dropped_bad_topic"
        if self._ending or self._lost.done():
            return "dropped_disconnected"
        said = None if correlation is None else {CORRELATION_DATA: correlation}
        if qos and self._session.maximum_qos:
            if len(self._outbox) >= self._max_outgoing:
                return "dropped_full"
            packet = self._outbox.add(partial(self._writer.publish, written, payload, retain, said))
            if packet is None:
                return "published"
        else:
            packet = self._writer.publish(written, payload, retain, said)
        self._out.append(packet)
        if not self._reading and not self._write_due:
            self._write_due = True
            self._loop.call_soon(self._write)
        return "published"

    def _publish_first(self, publication: Publication) -> None:
        """Send a birth or the will, whatever else waits."""
        topic, payload, qos, retain = publication
        written = self._writer.topic(topic)
        assert written is not None  # the daemon's own topics are checked with its config
        if qos and self._session.maximum_qos:
            make = partial(self._writer.publish, written, payload, retain, None)
            packet = self._outbox.add(make, first=True)
            assert packet is not None  # the first ones go beyond every limit
            self._out.append(packet)
        else:
            self._out.append(self._writer.publish(written, payload, retain))

    def _write(self) -> None:
        """Acknowledge what is answered, and send all there is in one piece."""
        self._write_due = False
        if self._taken and not self._batch:
            self._out += map(puback, self._taken)
            self._taken.clear()
        if not self._out or self._full or self._transport is None or self._transport.is_closing():
            return
        out, self._out = self._out, []
        self._spoke = True
        self._transport.write(b"".join(out))
        if self._full:
            self._stuck = _qos0_in_last(out, self._transport.get_write_buffer_size())

    def _tick(self, every_s: float) -> None:
        """Give a sign of life where nothing else was said, and see that the broker does."""
        self._silent = 0 if self._heard else self._silent + 1
        if self._silent >= SILENT_TICKS:
            self._end(LostError(f"nothing heard for {self._silent * every_s:g} s"))
            return
        if not self._spoke or not self._heard:
            self._out.append(PINGREQ)
            self._write()
        self._heard = self._spoke = False
        self._timer = self._loop.call_later(every_s, self._tick, every_s)

    # ---- what the event loop tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send at once, and be told when that is not possible."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # what does not go out whole pauses us

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if not self._closed.done():
            self._closed.set_result(None)
        gone = LostError("the broker closed the connection")
        self._end(lost_by(exc) if isinstance(exc, OSError) else gone)

    def pause_writing(self) -> None:
        """Hand the socket nothing more."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on: the socket has taken everything."""
        self._full, self._stuck = False, 0
        self._heard = True  # whoever takes bytes is alive
        self._turn()

    def data_received(self, data: bytes) -> None:
        """Take all that one read brought, answer it, and acknowledge it."""
        self._heard = True
        if len(data) >= LARGE_READ and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)
        self._take(self._parser.feed(data))

    # ---- what the broker says

    def _take(self, events: Sequence[Event]) -> None:
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        resolve, batch, taken = self._resolve, self._batch, self._taken
        self._reading = True
        try:
            for event in events:
                if type(event) is not Published:
                    self._note(event)
                    continue
                if self._leaving:  # the broker keeps what is not acknowledged
                    continue
                if self._early is not None:
                    self._early.append(event)
                    continue
                key, topic = resolve(event.topic)
                kind = "sample"
                if key is None or event.retain:
                    kind = self._intake.sort(key, topic, event.retain)
                if kind == "sample":
                    assert key is not None
                    batch.append(Message(key, event.payload, t_received_ns, t_arrived_ns, None, topic))
                elif kind == "command":
                    self._deliver_some(turns=MOST_HELD)
                    self._obey(topic, event)
                if event.number:
                    taken.append(event.number)
            self._deliver_some()
        except Exception as exc:  # noqa: BLE001  # a bug: serve raises it, where it can be seen
            self._fail(exc)
        finally:
            self._reading = False
        self._write()
        self._read_or_pause()

    def _obey(self, topic: str, event: Published) -> None:
        answer_to, correlation = (event.properties.get(n) for n in (RESPONSE_TOPIC, CORRELATION_DATA))
        assert answer_to is None or isinstance(answer_to, str)  # of a kind that is read as text
        assert correlation is None or isinstance(correlation, bytes)  # likewise as bytes
        self._intake.obey(Command(topic, event.payload, answer_to, correlation))

    def _note(self, event: Event) -> None:
        """Take what is no message."""
        if isinstance(event, Confirmed):
            self._declined += event.code >= 128
            self._outbox.confirm(event.number)
            self._out += self._outbox.due()
            self._progress.set()
        elif isinstance(event, Subscribed):
            answer = self._subscribing.get(event.number)
            if answer is not None and not answer.done():
                answer.set_result(event.codes[0])
        elif isinstance(event, Accepted):
            if not self._accepted.done():
                self._accepted.set_result(event)
        elif isinstance(event, Refused):
            self._end(LostError(event.reason, final=event.code in FINAL_REASONS, refused=True))
        elif isinstance(event, Ended):
            self._end(LostError(f"the broker ended the connection: {event.reason}"))
        elif isinstance(event, Malformed):
            self._end(LostError(f"expected MQTT {self._settings.version}: {event.reason}"))
        else:
            assert isinstance(event, Pong)  # it is there to be heard

    def _end(self, error: Exception) -> None:
        for waiting in (self._lost, self._accepted):
            if not waiting.done():
                waiting.set_exception(error)

    def _fail(self, bug: Exception) -> None:
        """Take nothing more in; what the receiver failed at stays at the broker."""
        self._end(bug)
        self._leaving = True
        self._taken.clear()
        self._batch.clear()

    # ---- how fast

    def _deliver_some(self, turns: int = 1) -> None:
        """Deliver what reads have brought, as far as there is room for the answers; at most so many batches."""
        batch = self._batch
        while batch and turns and (room := self._room()) > 0:
            some = batch[: min(room, MAX_BATCH)]
            del batch[: len(some)]
            self._deliver(some)
            if len(some) == MAX_BATCH:
                turns -= 1
            if batch:
                self._write()
        if batch and not turns and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Go on with what reads have brought."""
        self._turn_due = False
        self._take(())

    def _room(self) -> int:
        """How many answers may still be handed over; there is always room where nothing is held."""
        if not self._hold or len(self._batch) > MOST_HELD:
            return len(self._batch)
        # of qos 0 what the socket has not taken; of qos 1 what the broker has not confirmed
        return self._max_outgoing - max(len(self._out) + self._stuck, len(self._outbox))

    def _read_or_pause(self) -> None:
        """Leave in the socket what cannot be answered soon: half of what may wait to be sent does."""
        stuffed = self._hold and len(self._out) + self._stuck > self._max_outgoing // 2
        paused = (stuffed or self._turn_due) and not self._leaving
        if paused == self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


async def _dial(host: str, port: int) -> socket.socket:
    """A connected socket; of several addresses the first that answers.

    Raises:
        OSError: None does; it says why the last one did not.
    """
    loop = asyncio.get_running_loop()
    refusal: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)  # noqa: FBT003  # the standard library's
            sock.setsockopt(*NODELAY)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            refusal = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refusal or OSError(f"{host} has no address")


def _qos0_in_last(packets: list[bytes], size: int) -> int:
    """How many publications that nobody confirms lie in the last so many bytes."""
    found = 0
    for packet in reversed(packets):
        if size <= 0:
            break
        size -= len(packet)
        found += is_qos0_publish(packet)
    return found
