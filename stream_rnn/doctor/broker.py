"""What the broker lets the daemon do, tried as a guest: under another client id, on a topic of our own."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator

import msgspec
import numpy as np

from stream_rnn.config.sections import Config, MqttSection
from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.nodelay import check_nodelay
from stream_rnn.doctor.reach import check_reach
from stream_rnn.doctor.samples import Samples
from stream_rnn.errors import TransportError
from stream_rnn.transports.base import Deliver, Message
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings

ROUNDS = 50
ANSWER_S = 2.0
SLOW_MS = 20.0
PAYLOAD = b"x" * 384  # a sample of 96 features
LISTEN_S = 1.0


async def check_broker(config: Config, features: int | None) -> AsyncIterator[Finding]:
    """Go as far as the broker lets us; the first failure on the way in is the last finding.

    Args:
        config: With a section [mqtt].
        features: How many the model takes; None where there is no model.
    """
    mqtt = config.mqtt
    assert mqtt is not None
    async for finding in check_reach(mqtt):
        yield finding
        if finding.verdict == "fail":
            return
    # The daemon's own client id would take the connection from it, and its session.
    guest = msgspec.structs.replace(mqtt, client_id=None, clean_session=True, accept_retained=True)
    login = await check_login(guest)
    yield login
    if login.verdict == "fail":
        return
    samples = Samples(mqtt.wire, features)
    yield await check_subscription(guest, samples)
    topic = f"{config.daemon.topic}/doctor/{secrets.token_hex(4)}"
    trip, p50_ms = await check_round_trip(guest, topic)
    yield trip
    yield await check_node(guest, f"{config.daemon.topic}/status")
    if p50_ms is not None:
        yield await asyncio.to_thread(check_nodelay, guest, topic, p50_ms)
    if samples.subscribed:
        yield samples.finding(mqtt.topic)


@contextlib.asynccontextmanager
async def connected(
    settings: MqttSettings, topics: list[str], deliver: Deliver
) -> AsyncIterator[MqttTransport]:
    """A connection with these subscriptions, for as long as the context lasts.

    Raises:
        TransportError: The broker refuses, or does not answer.
    """
    transport = MqttTransport(settings, topics=topics, fail_fast=True)
    serving = asyncio.create_task(transport.serve(deliver), name="doctor-serve")
    ready = asyncio.create_task(transport.ready(), name="doctor-ready")
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield transport
    finally:
        ready.cancel()
        serving.cancel()
        await asyncio.wait({serving, ready})
        if not serving.cancelled() and not isinstance(error := serving.exception(), TransportError | None):
            raise error


async def check_login(settings: MqttSettings) -> Finding:
    """Connect and disconnect."""
    user = "anonymous" if settings.username is None else f"user {settings.username!r}"
    try:
        async with connected(settings, [], _ignore):
            return Finding("login", "ok", f"{user} accepted, MQTT {settings.version}")
    except TransportError as error:
        return Finding("login", "fail", str(error), _login_remedy(settings, str(error)))


async def check_subscription(settings: MqttSection, samples: "Samples") -> Finding:
    """Subscribe to the samples, and listen for a moment.

    Args:
        settings: How, and to what.
        samples: Takes what arrives.
    """
    try:
        async with connected(settings, [settings.topic], samples.take):
            samples.begin()
            await asyncio.sleep(LISTEN_S)
            samples.end()
    except TransportError as error:
        user = "anonymous users" if settings.username is None else f"user {settings.username!r}"
        do = f"let {user} read {settings.topic!r} in the broker's access list, or set mqtt.topic"
        return Finding("subscription", "fail", str(error), do)
    return Finding("subscription", "ok", f"{settings.topic!r} granted at qos {settings.qos}")


async def check_round_trip(settings: MqttSettings, topic: str) -> tuple[Finding, float | None]:
    """Publish and get it back, one after the other.

    Args:
        settings: How.
        topic: A private one.

    Returns:
        The finding, and the median in ms; None where nothing came back.
    """
    arrivals: asyncio.Queue[None] = asyncio.Queue()

    def deliver(messages: list[Message]) -> None:
        for _ in messages:
            arrivals.put_nowait(None)

    times_ms = []
    try:
        async with connected(settings, [topic], deliver) as transport, asyncio.timeout(ANSWER_S) as limit:
            for _ in range(ROUNDS):
                began = time.perf_counter()
                transport.publish(topic, PAYLOAD)
                await arrivals.get()
                times_ms.append((time.perf_counter() - began) * 1e3)
                limit.reschedule(asyncio.get_running_loop().time() + ANSWER_S)
    except TransportError as error:
        do = f"to let it be measured, allow the doctor to read {topic.rpartition('/')[0]}/#"
        return Finding("round trip", "warn", str(error), do), None
    except TimeoutError:
        found = f"published on {topic}, nothing came back within {ANSWER_S:g} s"
        do = f"let this user write {topic.rpartition('/doctor/')[0]}/# in the broker's access list"
        return Finding("round trip", "fail", found, do), None
    p50, p99 = (float(p) for p in np.percentile(times_ms, (50, 99)))
    return round_trip_finding(p50, p99), p50


def round_trip_finding(p50_ms: float, p99_ms: float) -> Finding:
    """Judge the way to the broker and back, which every prediction takes once more."""
    found = f"{p50_ms:.2f} ms (p50), {p99_ms:.2f} ms (p99) of {ROUNDS} messages of {len(PAYLOAD)} bytes"
    if p50_ms > SLOW_MS:
        do = "run the daemon beside its broker: the way there and back is part of every prediction's latency"
        return Finding("round trip", "warn", found, do)
    return Finding("round trip", "ok", found)


async def check_node(settings: MqttSettings, topic: str) -> Finding:
    """See whether a node of this name is online: its status is retained, and comes before our own message.

    Args:
        settings: How.
        topic: Of its status.
    """
    payloads: asyncio.Queue[bytes] = asyncio.Queue()

    def deliver(messages: list[Message]) -> None:
        for message in messages:
            payloads.put_nowait(message.payload)

    try:
        async with connected(settings, [topic], deliver), asyncio.timeout(0.3):
            return node_finding(topic, await payloads.get())
    except TransportError as error:
        return Finding("node", "skip", str(error))
    except TimeoutError:
        return node_finding(topic, None)


def node_finding(topic: str, status: bytes | None) -> Finding:
    """Judge the retained status of a node; None for none."""
    node = topic.removesuffix("/status")
    try:
        fields = json.loads(status or b"{}")
    except ValueError:
        fields = {}
    if isinstance(fields, dict) and fields.get("status") == "online":
        do = "before you start another daemon: stop it, or set daemon.node; two of one name mix their topics"
        return Finding("node", "warn", f"{node} is online already, as session {fields.get('session')}", do)
    return Finding("node", "ok", f"no other {node} is online")


def _ignore(_messages: list[Message]) -> None:
    pass


def _login_remedy(settings: MqttSettings, error: str) -> str:
    if " refused: " not in error:
        return "is this an MQTT port, with TLS as configured? See the broker's log"
    if settings.username is None:
        return (
            "this broker wants a name: set mqtt.username, and STREAM_RNN_MQTT__PASSWORD or mqtt.password_file"
        )
    return "check mqtt.username, and STREAM_RNN_MQTT__PASSWORD or mqtt.password_file"
