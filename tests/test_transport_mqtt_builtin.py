"""Our own MQTT client against a broker that says exactly what the test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from stream_rnn.transports.base import Message, Publication
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_packets import Writer, topic_of
from stream_rnn.transports.mqtt_settings import MqttSettings
from tests.scripted import Peer, ScriptedBroker

ONLINE = Publication("status", b"online", 1, retain=True)
OLD, NEW = Writer(new=False), Writer(new=True)
TOPIC = b"\0\x11sensors/a/samples"


class Client:
    """A transport at work, and what it delivered and reported."""

    def __init__(self, transport: MqttTransport) -> None:
        self.transport = transport
        self.got: asyncio.Queue[Message] = asyncio.Queue()
        self.reports: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def deliver(self, messages: list[Message]) -> None:
        for message in messages:
            self.transport.publish(f"out/{message.stream}", message.payload, qos=0)
            self.got.put_nowait(message)


@contextlib.asynccontextmanager
async def serving(broker: ScriptedBroker, **fields: object) -> AsyncIterator[Client]:
    settings = {"port": broker.port, "backoff_max_s": 0.01, "client_id": "node", "clean_session": False}
    transport = MqttTransport(
        MqttSettings(**{**settings, **fields}),  # type: ignore[arg-type]  # of any type
        on_connect=lambda: [ONLINE],
    )
    client = Client(transport)
    transport._report = lambda kind, detail: client.reports.put_nowait((kind, detail))
    task = asyncio.create_task(transport.serve(client.deliver), name="serve")
    yield client
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def greeted(peer: Peer, new: bool = False) -> None:  # noqa: FBT001, FBT002
    """Take the birth and the subscription, and confirm both."""
    birth = await peer.next()
    assert birth[:1] == b"\x33"
    assert birth[1:9] == b"\0\x06status"
    peer.say(b"\x40\x02", birth[9:11])
    subscription = await peer.next()
    assert subscription[:1] == b"\x82"
    peer.say(b"\x90\x04" if new else b"\x90\x03", subscription[1:3], b"\0" if new else b"", b"\x01")


async def test_message_is_acknowledged_after_its_answer_was_written() -> None:
    async with ScriptedBroker() as broker, serving(broker) as client:
        peer = await broker.accept()
        await greeted(peer)
        peer.say(*(OLD.publish(TOPIC, b"%d" % i, number=i) for i in (1, 2, 3)))
        said = [await peer.next() for _ in range(6)]
        assert said == [
            *(b"0\0\x05out/a%d" % i for i in (1, 2, 3)),
            *(b"\x40\0" + bytes((i,)) for i in (1, 2, 3)),
        ]
        assert client.transport.counters["received"] == 3


async def test_message_before_the_births_is_answered_after_them() -> None:
    async with ScriptedBroker() as broker, serving(broker):
        peer = await broker.accept(b"\x20\x02\x01\0" + OLD.publish(TOPIC, b"kept", number=5))
        await greeted(peer)
        assert [await peer.next() for _ in range(2)] == [b"0\0\x05out/akept", b"\x40\0\x05"]


@pytest.mark.parametrize("known", [True, False])
async def test_unconfirmed_publications_are_sent_again_after_the_births(known: bool) -> None:  # noqa: FBT001
    async with ScriptedBroker() as broker, serving(broker) as client:
        peer = await broker.accept()
        await greeted(peer)
        await client.transport.ready()
        for payload in (b"x", b"y"):
            assert client.transport.publish("t", payload, qos=1)
        first = [await peer.next() for _ in range(2)]
        peer.say(b"\x40\x02", first[0][4:6])
        peer.say(OLD.publish(TOPIC, b"1"))  # answered only when the confirmation before it was read
        await peer.next()
        await peer.close()
        peer = await broker.accept(bytes((0x20, 2, known, 0)))
        birth, again, subscription = [await peer.next() for _ in range(3)]
        assert (birth[:1], subscription[:1]) == (b"\x33", b"\x82")
        assert again == bytes((first[1][0] | 8 * known,)) + first[1][1:]
        assert client.transport.counters["unconfirmed"] == 0


async def test_stop_gives_up_and_counts_what_the_broker_does_not_confirm() -> None:
    async with ScriptedBroker() as broker:
        async with serving(broker) as client:
            peer = await broker.accept()
            await greeted(peer)
            await client.transport.ready()
            assert client.transport.publish("t", b"x", qos=1)
            await peer.next()
            assert client.transport.counters["unconfirmed"] == 0
        assert client.transport.counters["unconfirmed"] == 1


async def test_clean_session_gives_up_and_counts_what_was_not_confirmed() -> None:
    async with ScriptedBroker() as broker, serving(broker, clean_session=True) as client:
        peer = await broker.accept()
        await greeted(peer)
        await client.transport.ready()
        assert client.transport.publish("t", b"x", qos=1)
        await peer.next()
        await peer.close()
        peer = await broker.accept()
        await greeted(peer)
        await client.transport.ready()
        assert client.transport.counters["unconfirmed"] == 1


async def test_broker_of_version_5_says_how_many_it_takes() -> None:
    async with ScriptedBroker() as broker, serving(broker, version="5") as client:
        peer = await broker.accept(b"\x20\x06\0\0\x03\x21\0\x02")
        await greeted(peer, new=True)
        await client.transport.ready()
        for i in range(4):
            assert client.transport.publish("t", b"%d" % i, qos=1)
        assert client.transport.publish("t", b"last")
        said = [await peer.next() for _ in range(3)]
        assert [packet[-1:] for packet in said] == [b"0", b"1", b"t"]
        peer.say(b"\x40\x02", said[0][4:6])
        assert (await peer.next())[-1:] == b"2"


async def test_broker_that_takes_no_qos_1_gets_0() -> None:
    async with ScriptedBroker() as broker, serving(broker, version="5") as client:
        peer = await broker.accept(b"\x20\x05\0\0\x02\x24\0")
        assert (await peer.next())[:1] == b"\x31"  # the birth
        await peer.next()
        assert client.transport.publish("t", b"x", qos=1)
        assert (await peer.next())[:1] == b"\x30"


async def test_silent_broker_is_pinged_and_then_left() -> None:
    async with ScriptedBroker() as broker, serving(broker, version="5") as client:
        peer = await broker.accept(b"\x20\x06\0\0\x03\x13\0\x01")
        await greeted(peer, new=True)
        name = f"mqtt 127.0.0.1:{broker.port}"
        assert await client.reports.get() == ("connected", name)
        assert await peer.next() == b"\xc0"
        assert await client.reports.get() == ("disconnected", f"{name}: nothing heard for 1.5 s")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\xf0\0", "expected MQTT 3.1.1: packet: expected one for a client, got first byte 0xf0"),
        (
            b"\x30\xff\xff\xff\x7f",
            "expected MQTT 3.1.1: packet: expected at most 67108864 bytes, got 268435455",
        ),
        (b"", "the broker closed the connection"),
    ],
)
async def test_broken_connection_is_told_in_one_line_and_renewed(said: bytes, reason: str) -> None:
    async with ScriptedBroker() as broker, serving(broker) as client:
        peer = await broker.accept()
        await greeted(peer)
        name = f"mqtt 127.0.0.1:{broker.port}"
        assert await client.reports.get() == ("connected", name)
        if said:
            peer.say(said)
        else:
            await peer.close()
        assert await client.reports.get() == ("disconnected", f"{name}: {reason}")
        peer = await broker.accept()
        await greeted(peer)
        assert await client.reports.get() == ("connected", name)


async def test_reason_of_a_broker_that_ends_the_connection_is_told() -> None:
    async with ScriptedBroker() as broker, serving(broker, version="5") as client:
        peer = await broker.accept(b"\x20\x03\0\0\0")
        await greeted(peer, new=True)
        name = f"mqtt 127.0.0.1:{broker.port}"
        assert await client.reports.get() == ("connected", name)
        peer.say(b"\xe0\x01\x8e")
        reason = "the broker ended the connection: session taken over"
        assert await client.reports.get() == ("disconnected", f"{name}: {reason}")


@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
async def test_message_whose_receiver_failed_stays_at_the_broker(
    client: Literal["builtin", "aiomqtt"],
) -> None:
    def deliver(_messages: list[Message]) -> None:
        raise ZeroDivisionError("a bug")

    async with ScriptedBroker() as broker:
        transport = MqttTransport(MqttSettings(port=broker.port, client=client))
        task = asyncio.create_task(transport.serve(deliver), name="serve")
        peer = await broker.accept()
        assert (await peer.next())[:1] == b"\x82"
        peer.say(b"\x90\x03\0\x01\x01", OLD.publish(TOPIC, b"x", number=1))
        with pytest.raises(asyncio.IncompleteReadError):
            await peer.next()  # no acknowledgement
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await task


async def test_a_publication_that_the_broker_declines_is_told_by_its_topic_and_counted_once() -> None:
    async with ScriptedBroker() as broker, serving(broker, version="5") as client:
        peer = await broker.accept(b"\x20\x03\0\0\0")
        await greeted(peer, new=True)
        await client.transport.ready()
        assert client.transport.publish("t/u", b"x", qos=1)
        packet = await peer.next()
        assert packet[:6] == b"\x32\0\x03t/u"
        peer.say(b"\x40\x03", packet[6:8], b"\x87")
        async with asyncio.timeout(5):
            while (report := await client.reports.get())[0] != "refused":
                pass
        said = "publication on 't/u' refused: not authorized"
        assert report == ("refused", f"mqtt 127.0.0.1:{broker.port}: {said}")
        assert (client.transport.counters["declined"], client.transport.counters["unconfirmed"]) == (1, 0)


def test_topic_of_a_long_publication_is_found_behind_its_length() -> None:
    for payload in (b"", b"x" * 200, b"x" * 20_000):
        assert topic_of(NEW.publish(TOPIC, payload, number=7)) == "sensors/a/samples"
