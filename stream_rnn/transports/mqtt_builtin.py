"""Our own MQTT client: one read is parsed whole, delivered in one call and answered with one write.

Between a sample and its prediction there is no queue, no task switch and no wait for the selector. The bytes
are `mqtt_parser`'s and `mqtt_packets`' affair, what is not confirmed yet `mqtt_outbox`'s, how fast it goes
`mqtt_pump`'s; here is the order of things.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from stream_rnn.transports.base import Message, Publication
from stream_rnn.transports.mqtt_dial import dial, hello
from stream_rnn.transports.mqtt_keepalive import Keepalive, Signs
from stream_rnn.transports.mqtt_link import (
    ANSWER_S,
    INFLIGHT,
    MOST_HELD,
    Command,
    Intake,
    LostError,
    lost_by,
    lost_with,
    no_answer,
)
from stream_rnn.transports.mqtt_outbox import Outbox
from stream_rnn.transports.mqtt_packets import DISCONNECT, PINGREQ, Writer, topic_of
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
from stream_rnn.transports.mqtt_pump import Pump
from stream_rnn.transports.mqtt_reasons import reason_name
from stream_rnn.transports.mqtt_receipts import Receipts
from stream_rnn.transports.mqtt_sending import Sender, keep_in
from stream_rnn.transports.mqtt_settings import MqttSettings

MAX_BYTES = 1 << 26  # of a packet; a snapshot of the largest network fits
LARGE_READ = 1 << 16  # uvloop follows a read that fills its buffer with up to 31 more, and nothing else runs


class BuiltinClient:
    """Makes the connections of one transport, and keeps between them what a persistent session remembers.

    Args:
        settings: How to reach the broker.
        will: Published by the broker when we vanish.
        receipts: What acknowledgements wait in, if they do.
        hold: Whether to leave at the broker what there is no room to answer.
    """

    def __init__(
        self,
        settings: MqttSettings,
        will: Publication | None,
        receipts: Receipts | None = None,
        *,
        hold: bool,
    ) -> None:
        self._settings, self._will, self._hold, self._receipts = settings, will, hold, receipts
        self._outbox = Outbox(INFLIGHT)
        if receipts is not None:
            receipts.adopt(self._outbox.unconfirmed, keep_in(self._outbox, settings))

    def __call__(self, intake: Intake, tls: ssl.SSLContext | None) -> "BuiltinLink":
        """One more connection."""
        outbox, receipts = self._outbox, self._receipts
        return BuiltinLink(self._settings, self._will, intake, tls, outbox, receipts, hold=self._hold)


class BuiltinLink(asyncio.Protocol):
    """One connection; see `Link`."""

    def __init__(
        self,
        settings: MqttSettings,
        will: Publication | None,
        intake: Intake,
        tls: ssl.SSLContext | None,
        outbox: Outbox,
        receipts: Receipts | None,
        *,
        hold: bool,
    ) -> None:
        new = settings.version == "5"
        self._settings, self._will, self._tls = settings, will, tls
        self._intake = intake
        self._outbox, self._receipts = outbox, receipts
        self._parser = Parser(new=new, max_bytes=MAX_BYTES)
        self._writer = Writer(new=new)
        self._signs = Signs()
        most = settings.max_outgoing
        self._pump = Pump(intake.deliver, outbox, self._turn, self._signs, most, receipts, hold=hold)
        self._sender = Sender(self._writer, outbox, self._pump, most, receipts)
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._accepted: asyncio.Future[Accepted] = self._loop.create_future()
        self._progress = asyncio.Event()  # something was confirmed
        self._subscribing: dict[int, asyncio.Future[int]] = {}
        self._transport: asyncio.Transport | None = None
        self._early: list[Published] | None = []  # came before the births were sent; None after
        self._leaving = False
        # Whether nothing is sent again by a later connection.
        self._last = settings.clean_session and receipts is None
        self._keepalive: Keepalive | None = None

    @property
    def socket(self) -> Any:  # noqa: ANN401  # see Link
        """See `Link`."""
        assert self._transport is not None
        return self._transport.get_extra_info("socket")

    async def connect(self) -> None:
        """See `Link`."""
        settings = self._settings
        host, port = settings.address
        name = host if self._tls is not None else None
        try:
            async with asyncio.timeout(ANSWER_S):
                sock = await dial(host, port)
                await self._loop.create_connection(
                    lambda: self, sock=sock, ssl=self._tls, server_hostname=name
                )
                self._pump.out.append(hello(settings, self._will, self._writer, MAX_BYTES))
                self._pump.write()
                self._session = await self._accepted
                self._sender.maximum_qos = self._session.maximum_qos
                if self._receipts is not None:
                    self._receipts.begin(self._pump.acknowledge)
        except TimeoutError:
            raise no_answer() from None
        except OSError as error:
            raise lost_by(error) from None
        asked_s = self._session.keepalive_s
        keepalive_s = settings.keepalive_s if asked_s is None else asked_s
        self._keepalive = Keepalive(keepalive_s, self._ping, self._silent, self._signs)

    def _ping(self) -> None:
        self._pump.send(PINGREQ)

    def _silent(self, seconds: float) -> None:
        self._end(LostError(f"nothing heard for {seconds:g} s"))

    async def until_lost(self) -> None:
        """See `Link`."""
        await asyncio.shield(self._lost)

    async def greet(self, births: Sequence[Publication], filters: Mapping[str, int]) -> dict[str, str]:
        """See `Link`."""
        self._outbox.resume(self._session.receive_maximum or INFLIGHT, known=self._session.session_present)
        for birth in births:
            self._sender.publish_first(birth)
        self._pump.out += self._outbox.due()
        for topic, qos in filters.items():
            number = self._outbox.number()
            self._subscribing[number] = self._loop.create_future()
            self._pump.out.append(self._writer.subscribe(number, topic, qos))
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
        self._leaving = self._pump.draining = True
        self._last = self._receipts is None
        self._pump.read_or_pause()  # what still comes are confirmations
        await self._until_confirmed()
        if self._receipts is not None:
            await self._or_lost(asyncio.ensure_future(self._receipts.settle()))
        self._sender.over = True  # nothing goes after the will
        if will is not None:
            self._sender.publish_first(will)
            await self._until_confirmed()
        self._pump.out.append(DISCONNECT)
        self._pump.write()
        if self._transport is not None:
            self._transport.close()
            await asyncio.shield(self._closed)

    async def close(self) -> int:
        """See `Link`."""
        self._leaving = True
        if self._receipts is not None:
            self._receipts.end()
        if self._keepalive is not None:
            self._keepalive.stop()
        if self._transport is not None:
            self._transport.abort()
            await asyncio.wait({self._closed}, timeout=1.0)
        futures: list[asyncio.Future[Any]] = [self._lost, self._accepted, *self._subscribing.values()]
        for waiting in futures:
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # seen already, or of no interest any more
        return self._pump.unsent + (self._outbox.clear() if self._last else 0)

    async def _until_confirmed(self) -> None:
        """Return once everything of qos 1 is confirmed, and what was taken in is answered."""
        while True:
            self._progress.clear()
            self._turn()
            if not self._outbox and not self._pump.batch:
                return
            await self._or_lost(asyncio.ensure_future(self._progress.wait()))

    async def _or_lost(self, wanted: "asyncio.Future[Any]") -> Any:  # noqa: ANN401  # whatever is wanted
        """Wait for something that only a living connection brings."""
        try:
            await asyncio.wait({wanted, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            return wanted.result() if wanted.done() else self._lost.result()
        finally:
            wanted.cancel()

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool = False, correlation: bytes | None = None
    ) -> str:
        """See `Link`."""
        return self._sender.publish(topic, payload, qos, retain=retain, correlation=correlation)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send at once, and be told when that is not possible."""
        self._transport = cast("asyncio.Transport", transport)
        self._pump.attach(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if not self._closed.done():
            self._closed.set_result(None)
        gone = LostError("the broker closed the connection", closed=True)
        self._end(lost_by(exc) if isinstance(exc, OSError) else gone)

    def pause_writing(self) -> None:
        """Hand the socket nothing more."""
        self._pump.pause_writing()

    def resume_writing(self) -> None:
        """Go on: the socket has taken everything."""
        self._pump.resume_writing()
        self._signs.heard = True  # whoever takes bytes is alive
        self._turn()

    def data_received(self, data: bytes) -> None:
        """Take all that one read brought, answer it, and acknowledge it."""
        self._signs.heard = True
        if len(data) >= LARGE_READ:
            self._pump.turn_later()
        self._take(self._parser.feed(data))

    def _take(self, events: Sequence[Event]) -> None:
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        pump, resolve, most = self._pump, self._intake.resolve, self._settings.max_bytes
        batch, taken = pump.batch, pump.taken
        pump.busy = True
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
                kind, payload = "sample", event.payload
                if key is None or event.retain or len(payload) > most:
                    kind = self._intake.sort(key, topic, event.retain, len(payload))
                if kind == "sample":
                    assert key is not None
                    batch.append(Message(key, payload, t_received_ns, t_arrived_ns, None, topic, event.again))
                elif kind == "command":
                    self._pump.deliver_some(turns=MOST_HELD)
                    self._obey(topic, event)
                if event.number:
                    taken.append(event.number)
            self._pump.deliver_some()
        except Exception as exc:  # noqa: BLE001  # a bug: serve raises it, where it can be seen
            self._fail(exc)
        finally:
            pump.busy = False
        pump.write()
        pump.read_or_pause()

    def _turn(self) -> None:
        """Go on with what reads have brought."""
        self._take(())

    def _obey(self, topic: str, event: Published) -> None:
        answer_to, correlation = (event.properties.get(n) for n in (RESPONSE_TOPIC, CORRELATION_DATA))
        assert answer_to is None or isinstance(answer_to, str)  # of a kind that is read as text
        assert correlation is None or isinstance(correlation, bytes)  # likewise as bytes
        self._intake.obey(Command(topic, event.payload, answer_to, correlation))

    def _note(self, event: Event) -> None:
        """Take what is no message."""
        if isinstance(event, Confirmed):
            packet = self._outbox.confirm(event.number)
            if event.code >= 128 and packet is not None:
                self._intake.declined(topic_of(packet), reason_name(event.code))
            self._pump.out += self._outbox.due()
            self._progress.set()
        elif isinstance(event, Subscribed):
            answer = self._subscribing.get(event.number)
            if answer is not None and not answer.done():
                answer.set_result(event.codes[0])
        elif isinstance(event, Accepted):
            if not self._accepted.done():
                self._accepted.set_result(event)
        elif isinstance(event, Refused | Ended | Malformed):
            self._end(lost_with(event, self._settings.version))
        else:
            assert isinstance(event, Pong)  # it is there to be heard

    def _end(self, error: Exception) -> None:
        self._sender.over = True
        for waiting in (self._lost, self._accepted):
            if not waiting.done():
                waiting.set_exception(error)

    def _fail(self, bug: Exception) -> None:
        """Take nothing more in; what the receiver failed at stays at the broker."""
        self._end(bug)
        self._leaving = True
        self._pump.drop()
