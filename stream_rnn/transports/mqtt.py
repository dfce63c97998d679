"""Samples from an MQTT broker, predictions back to it, over connections that are renewed for ever."""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stream_rnn.errors import TransportError
from stream_rnn.transports.base import Births, Deliver, Message, Publication, Report, no_births, no_report
from stream_rnn.transports.mqtt_control import Control
from stream_rnn.transports.mqtt_link import Link
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.topics import TopicRouter

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without it: stalls of 40 ms (Nagle, delayed ACK)
ANSWER_S = 5.0  # a broker that accepted the connection answers within this
INFLIGHT = 1000  # publications of qos 1 unconfirmed at a time; a broker of version 5 says how many it takes
FAREWELL_S = 2.0  # a stop waits no longer for the broker to take what is left
BACKOFF_FIRST_S = 0.1
STEADY_S = 10.0  # a connection that lasted this long was no failure

# Answers to CONNECT that no retry changes: protocol version, client id, user or password, not authorised,
# banned, authentication method (MQTT 5, table 3.2.2-2; paho translates those of 3.1.1).
FINAL_REASONS = frozenset({132, 133, 134, 135, 138, 140})

COUNTERS = (
    "received",
    "commands",
    "published",
    "connections",
    "ignored_retained",
    "ignored_topic",
    "dropped_disconnected",
    "dropped_full",
    "dropped_bad_topic",
    "unconfirmed",
)


class MqttTransport:
    """One broker, some subscriptions, and a place to publish.

    Args:
        settings: How to reach the broker.
        topics: Templates or plain filters to subscribe to, instead of `settings.topic`.
        will: Published by the broker when we vanish, and by ourselves on a clean stop.
        on_connect: Gives what to publish first on each connection.
        report: Takes connected, disconnected, retrying: once for each change.
        control: Who carries out commands, if they are taken.
        hold: While half of `max_outgoing` waits to leave, take nothing more in: the broker keeps it.
        fail_fast: Raise when the first connection fails, instead of trying again.
        jitter: Gives a number from 0 to 1, by which each wait before a new attempt is multiplied.

    Attributes:
        counters: received, commands, published, connections, ignored_retained, ignored_topic,
            dropped_disconnected, dropped_full, dropped_bad_topic, unconfirmed (accepted by `publish`, but
            not sent, or at qos 1 not confirmed, when the connection ended).

    Raises:
        ConfigError: A topic cannot be subscribed to.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        topics: Sequence[str] | None = None,
        will: Publication | None = None,
        on_connect: Births = no_births,
        report: Report = no_report,
        control: Control | None = None,
        hold: bool = True,
        fail_fast: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.counters = dict.fromkeys(COUNTERS, 0)
        templates = [settings.topic] if topics is None else list(topics)
        self._router = TopicRouter(templates, reserved=control.prefix if control is not None else None)
        self._filters = {template.filter: settings.qos for template in self._router.templates}
        if control is not None:
            self._filters[f"{control.prefix}+"] = 1
        self._will = will
        self._on_connect = on_connect
        self._report = report
        self._control = control
        self._hold = hold
        self._fail_fast = fail_fast
        self._jitter = jitter
        self._ready = asyncio.Event()
        self._link: Link | None = None  # for publications: only while connected
        self._reading: Link | None = None
        self._state = ("", "")

    async def serve(self, deliver: Deliver) -> None:
        """Connect, deliver, and connect again for ever, until cancelled; then say goodbye.

        Raises:
            TransportError: The broker refuses us, or with `fail_fast` cannot be reached at first.
            ConfigError: A certificate file cannot be read.
        """
        tls = self.settings.tls_context()
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._connection(deliver, tls)
            except aiomqtt.MqttError as exc:
                self._after(exc)
            failures = 0 if time.monotonic() - began > STEADY_S else failures + 1
            longest = min(self.settings.backoff_max_s, BACKOFF_FIRST_S * 2 ** min(failures, 30))
            await asyncio.sleep(longest * self._jitter())

    async def ready(self) -> None:
        """Return once subscribed."""
        await self._ready.wait()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand one payload to the socket; False, and counted, when there is none or it is congested."""
        link = self._link
        outcome = "dropped_disconnected" if link is None else link.publish(topic, payload, qos, retain=retain)
        self.counters[outcome] += 1
        return outcome == "published"

    @property
    def up(self) -> bool:
        """Whether it is connected and subscribed."""
        return self._ready.is_set()

    @property
    def _name(self) -> str:
        host, port = self.settings.address
        return f"mqtt {host}:{port}"

    async def _connection(self, deliver: Deliver, tls: ssl.SSLContext | None) -> None:
        """Live through one connection. Ends with the exception that ended it."""
        client = self._new_client(tls)
        link = self._reading = Link(
            client, self._accept, deliver, self.settings.max_outgoing, hold=self._hold
        )
        try:
            await _connect(client, link)
            link.start()
            try:
                await self._live(client, link)
            except asyncio.CancelledError:
                await self._say_goodbye(client, link)
                raise
        finally:
            self._ready.clear()
            self._link = None
            self.counters["unconfirmed"] += link.close()

    async def _live(self, client: aiomqtt.Client, link: Link) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_until_disconnected(client), name="mqtt-connection")
                tasks.create_task(_until_bug(link), name="mqtt-delivery")
                await self._greet(client, link)
        except BaseExceptionGroup as group:
            raise _gravest(group) from None

    async def _greet(self, client: aiomqtt.Client, link: Link) -> None:
        for birth in self._on_connect():
            await client.publish(*birth)
        link.confirm_publications(wanted=False)
        self._link = link
        for topics, qos in self._filters.items():
            (code,) = await client.subscribe(topics, qos=qos)
            refused = code.is_failure if isinstance(code, ReasonCode) else code >= 128
            if refused:
                raise TransportError(f"{self._name}: subscription to {topics!r} refused: {code}")
        self.counters["connections"] += 1
        self._tell("connected", self._name)
        self._ready.set()

    async def _say_goodbye(self, client: aiomqtt.Client, link: Link) -> None:
        """Publish the will and disconnect. Where that fails, the broker publishes it: we just vanish."""
        self._link = None
        try:
            async with asyncio.timeout(FAREWELL_S):
                await link.flush()
                link.confirm_publications(wanted=True)
                if self._will is not None:
                    await client.publish(*self._will)
                await client.__aexit__(None, None, None)
        except (aiomqtt.MqttError, TimeoutError):
            pass

    def _accept(self, packet: paho.MQTTMessage) -> Message | None:
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        if packet.retain and not self.settings.accept_retained:
            self.counters["ignored_retained"] += 1
            return None
        try:
            topic = packet.topic
        except UnicodeDecodeError:  # a careless broker let it pass
            topic = ""
        key = self._router.key(topic)
        if key is None:
            self._set_aside(packet, topic)
            return None
        self.counters["received"] += 1
        return Message(key, bytes(packet.payload), t_received_ns, t_arrived_ns, None, topic)

    def _set_aside(self, packet: paho.MQTTMessage, topic: str) -> None:
        """Take a command, after the samples that came before it. A kept one is not meant for now."""
        control, link = self._control, self._reading
        if control is None or link is None or packet.retain or not topic.startswith(control.prefix):
            # a persistent session remembers the subscriptions of an older config
            self.counters["ignored_topic"] += 1
            return
        link.deliver_so_far()
        self.counters["commands"] += 1
        control.accept(packet, topic, self._answer)

    def _answer(self, topic: str, payload: bytes, properties: Properties | None) -> None:
        link = self._link
        outcome = (
            "dropped_disconnected" if link is None else link.publish(topic, payload, 1, properties=properties)
        )
        self.counters[outcome] += 1

    def _after(self, exc: aiomqtt.MqttError) -> None:
        """Report the end of a connection or attempt.

        Raises:
            TransportError: Another attempt would end the same way.
        """
        final, reason = _explain(exc)
        if isinstance(exc, MqttConnectError):
            user = "anonymous" if self.settings.username is None else f"user {self.settings.username!r}"
            reason = f"{user} refused: {reason}"
        if final or (self._fail_fast and not self.counters["connections"]):
            raise TransportError(f"{self._name}: {reason}") from None
        self._tell("disconnected" if self._state[0] == "connected" else "retrying", f"{self._name}: {reason}")

    def _tell(self, kind: str, detail: str) -> None:
        if (kind, detail) != self._state:
            self._state = (kind, detail)
            self._report(kind, detail)

    def _new_client(self, tls: ssl.SSLContext | None) -> aiomqtt.Client:
        settings = self.settings
        host, port = settings.address
        new = settings.version == "5"
        properties = None
        if new and not settings.clean_session:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho forgot
            properties.SessionExpiryInterval = settings.session_expiry_s
        return aiomqtt.Client(
            host,
            port,
            username=settings.username,
            password=settings.password,
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if new else aiomqtt.ProtocolVersion.V311,
            will=None if self._will is None else aiomqtt.Will(*self._will),
            clean_session=None if new else settings.clean_session,
            clean_start=settings.clean_session if new else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            timeout=ANSWER_S,
            keepalive=settings.keepalive_s,
            max_queued_outgoing_messages=settings.max_outgoing,
            max_inflight_messages=INFLIGHT if not new else None,
            tls_context=tls,
            socket_options=[NODELAY],
        )


async def _connect(client: aiomqtt.Client, link: Link) -> None:
    """Connect; when cancelled, give the thread that opens the socket a moment to end."""
    opening = asyncio.create_task(client.__aenter__(), name="mqtt-connect")
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        if not link.open:
            await asyncio.wait({opening}, timeout=1.0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        raise


async def _until_disconnected(client: aiomqtt.Client) -> None:
    async for _ in client.messages:  # none comes this way; the iteration raises when the connection ends
        pass


async def _until_bug(link: Link) -> None:
    await link.bug


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick what no reconnection heals, else the first."""
    return next(
        (exc for exc in group.exceptions if not isinstance(exc, aiomqtt.MqttError)), group.exceptions[0]
    )


def _explain(exc: aiomqtt.MqttError) -> tuple[bool, str]:
    """Tell whether another attempt is pointless, and the reason in a few words."""
    origin = exc.__cause__ or exc.__context__  # aiomqtt keeps only the text of what paho raised
    if isinstance(origin, ssl.SSLCertVerificationError):
        return True, f"the broker's certificate is not trusted: {origin.verify_message}"
    if isinstance(origin, ssl.SSLError) and origin.reason == "WRONG_VERSION_NUMBER":
        return True, "expected TLS, got something else: is this port without TLS?"
    if isinstance(origin, OSError):
        return False, origin.strerror or str(origin)
    if isinstance(exc, MqttConnectError) and isinstance(exc.rc, ReasonCode):
        return exc.rc.value in FINAL_REASONS, str(exc.rc).lower()
    if str(exc) == "Operation timed out":
        return False, f"no answer within {ANSWER_S:g} s (a broker of version 3.1.1 ignores version 5)"
    return False, str(origin or exc)
