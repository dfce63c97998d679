"""Samples from an MQTT broker, predictions back to it, over connections that are renewed for ever."""

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Sequence

from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.transports.base import Births, Deliver, Message, Publication, Report, no_births, no_report
from stream_rnn.transports.mqtt_builtin import BuiltinClient
from stream_rnn.transports.mqtt_control import Control
from stream_rnn.transports.mqtt_link import Command, Intake, Link, LostError, NewLink, Sorted
from stream_rnn.transports.mqtt_receipts import Receipts
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.mqtt_takeover import Takeovers
from stream_rnn.transports.topics import TopicRouter

FAREWELL_S = 2.0  # a stop waits no longer for the broker to take what is left
BACKOFF_FIRST_S = 0.1
STEADY_S = 10.0  # a connection that lasted this long was no failure

COUNTERS = (
    "received",
    "commands",
    "published",
    "connections",
    "ignored_retained",
    "ignored_topic",
    "refused_size",
    "dropped_disconnected",
    "dropped_full",
    "dropped_bad_topic",
    "declined",
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
        receipts: What acknowledgements wait in until what was taken in is safe; only for the built-in client.
        fail_fast: Raise when the first connection fails, instead of trying again.
        jitter: Gives a number from 0 to 1, by which each wait before a new attempt is multiplied.

    Attributes:
        counters: received, commands, published, connections, ignored_retained, ignored_topic, refused_size,
            dropped_disconnected, dropped_full, dropped_bad_topic, declined (qos 1 and version 5: the broker
            refused them), unconfirmed (accepted by `publish`, but not sent, or at qos 1 not confirmed, when
            the connection ended; a persistent session of the built-in client sends those of qos 1 again, and
            counts what is left at the end).

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
        receipts: Receipts | None = None,
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
        self._new_link = _client(settings, will, receipts, hold=hold)
        self._fail_fast = fail_fast
        self._jitter = jitter
        self._ready = asyncio.Event()
        self._link: Link | None = None  # for publications: only while connected
        self._state = ("", "")
        self._accepted_s: float | None = None  # when the broker accepted the connection there is
        self._takeovers = Takeovers(settings.client_id)

    async def serve(self, deliver: Deliver) -> None:
        """Connect, deliver, and connect again for ever, until cancelled; then say goodbye.

        Raises:
            TransportError: The broker refuses us, or with `fail_fast` cannot be reached at first.
            ConfigError: A certificate file cannot be read, or another client has our name.
        """
        tls = self.settings.tls_context()
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._connection(deliver, tls)
            except LostError as exc:
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

        def deliver_counted(messages: list[Message]) -> None:
            self.counters["received"] += len(messages)
            deliver(messages)

        intake = Intake(self._router.resolve, self._sort, self._obey, deliver_counted, self._declined)
        link = self._new_link(intake, tls)
        try:
            self._accepted_s = None
            await link.connect()
            self._accepted_s = time.monotonic()
            try:
                await self._live(link)
            except asyncio.CancelledError:
                await self._say_goodbye(link)
                raise
        finally:
            self._ready.clear()
            self._link = None
            self.counters["unconfirmed"] += await link.close()

    async def _live(self, link: Link) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.until_lost(), name="mqtt-connection")
                await self._greet(link)
        except BaseExceptionGroup as group:
            raise _gravest(group) from None

    async def _greet(self, link: Link) -> None:
        self._link = link
        refused = await link.greet(self._on_connect(), self._filters)
        for topics, reason in refused.items():
            raise TransportError(f"{self._name}: subscription to {topics!r} refused: {reason}")
        self.counters["connections"] += 1
        self._tell("connected", self._name)
        self._ready.set()

    async def _say_goodbye(self, link: Link) -> None:
        """Send what is left, publish the will and disconnect; where that fails, the broker publishes it."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await link.say_goodbye(self._will)
        except (LostError, TimeoutError):
            pass

    def _sort(self, key: str | None, topic: str, retained: bool, size: int) -> Sorted:  # noqa: FBT001  # see Intake
        """Tell what a message is that is not simply a new sample; count what is ignored."""
        if retained and not self.settings.accept_retained:
            self.counters["ignored_retained"] += 1
            return "ignored"
        if key is not None:
            if size <= self.settings.max_bytes:
                return "sample"
            self.counters["refused_size"] += 1
            expected = f"expected at most {self.settings.max_bytes} bytes, got {size}"
            self._report("refused", f"{self._name}: stream {key[:40]!r}: {expected}")
            return "ignored"
        # a kept command is not meant for now; a persistent session remembers an older config's subscriptions
        if self._control is None or retained or not topic.startswith(self._control.prefix):
            self.counters["ignored_topic"] += 1
            return "ignored"
        return "command"

    def _obey(self, command: Command) -> None:
        assert self._control is not None  # else nothing is sorted as a command
        self.counters["commands"] += 1
        self._control.accept(command, self._answer)

    def _answer(self, topic: str, payload: bytes, correlation: bytes | None) -> None:
        link = self._link
        outcome = (
            "dropped_disconnected"
            if link is None
            else link.publish(topic, payload, 1, correlation=correlation)
        )
        self.counters[outcome] += 1

    def _declined(self, topic: str, reason: str) -> None:
        """Count and tell what the broker did not take."""
        self.counters["declined"] += 1
        self._report("refused", f"{self._name}: publication on {topic[:100]!r} refused: {reason}")

    def _after(self, exc: LostError) -> None:
        """Report the end of a connection or attempt.

        Raises:
            TransportError: Another attempt would end the same way.
            ConfigError: Another client has our name, and would take the next connection over too.
        """
        now_s, reason = time.monotonic(), str(exc)
        lasted_s = now_s - self._accepted_s if self._accepted_s is not None else None
        if fight := self._takeovers.fight(exc, lasted_s, now_s):
            raise ConfigError(
                f"{self._name}: client id {self.settings.client_id!r}: expected one client of this name, "
                f"got another ({fight}); stop the other one, or give each its own mqtt.client_id"
            ) from None
        if exc.refused:
            user = "anonymous" if self.settings.username is None else f"user {self.settings.username!r}"
            reason = f"{user} refused: {reason}"
        if exc.final or (self._fail_fast and not self.counters["connections"]):
            raise TransportError(f"{self._name}: {reason}") from None
        self._tell("disconnected" if self._state[0] == "connected" else "retrying", f"{self._name}: {reason}")

    def _tell(self, kind: str, detail: str) -> None:
        if (kind, detail) != self._state:
            self._state = (kind, detail)
            self._report(kind, detail)


def _client(
    settings: MqttSettings, will: Publication | None, receipts: Receipts | None, *, hold: bool
) -> NewLink:
    if settings.client == "builtin":
        return BuiltinClient(settings, will, receipts, hold=hold)
    assert receipts is None  # paho numbers and keeps what it published by itself
    from stream_rnn.transports.mqtt_aiomqtt import AiomqttClient  # noqa: PLC0415  # what only this needs is slow to import

    return AiomqttClient(settings, will, hold=hold)


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick what no reconnection heals, else the first."""
    return next((exc for exc in group.exceptions if not isinstance(exc, LostError)), group.exceptions[0])
