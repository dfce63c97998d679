"""What every transport promises, asked of each of them."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from stream_rnn.transports.base import Message, Publication, Publisher, Transport
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.stream_settings import TcpSettings, UnixSettings
from stream_rnn.transports.stream_socket import StreamSocketServer
from tests.broker import BINARY, Mosquitto, running_mosquitto

PAYLOADS = [b"%d" % number for number in range(100)]


class Case(NamedTuple):
    """One transport under test, and how a peer sends to it."""

    transport: Transport
    send: Callable[[list[bytes]], None]


@contextlib.asynccontextmanager
async def memory_case(_broker: Mosquitto | None) -> AsyncIterator[Case]:
    transport = MemoryTransport()
    yield Case(transport, lambda payloads: transport.feed("a", *payloads))


@contextlib.asynccontextmanager
async def tcp_case(_broker: Mosquitto | None) -> AsyncIterator[Case]:
    transport = StreamSocketServer(TcpSettings(port=0))
    writers: list[asyncio.StreamWriter] = []
    senders: list[asyncio.Task[None]] = []

    async def write(payloads: list[bytes]) -> None:
        if not writers:
            writers.append((await asyncio.open_connection("127.0.0.1", transport.port))[1])
        writers[0].write(b"".join(payload + b"\n" for payload in payloads))

    yield Case(transport, lambda p: senders.append(asyncio.create_task(write(p), name="send")))
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def mqtt_case(
    broker: Mosquitto | None, client: Literal["builtin", "aiomqtt"] = "builtin"
) -> AsyncIterator[Case]:
    assert broker is not None
    transport = MqttTransport(MqttSettings(port=broker.port, client=client))

    def send(payloads: list[bytes]) -> None:
        for payload in payloads:
            assert transport.publish("sensors/a/samples", payload)

    yield Case(transport, send)


@contextlib.asynccontextmanager
async def unix_case(_broker: Mosquitto | None) -> AsyncIterator[Case]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as client:
        settings = UnixSettings(path=f"{folder}/socket")

        def send(payloads: list[bytes]) -> None:
            client.connect(settings.path)
            client.sendall(b"".join(payload + b"\n" for payload in payloads))

        yield Case(StreamSocketServer(settings), send)


Cases = contextlib.AbstractAsyncContextManager[Case]

CASES: dict[str, Callable[[Mosquitto | None], Cases]] = {
    "memory": memory_case,
    "tcp": tcp_case,
    "unix": unix_case,
    "mqtt": mqtt_case,
    "mqtt aiomqtt": partial(mqtt_case, client="aiomqtt"),
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.mosquitto) if name.startswith("mqtt") else name for name in CASES
    ]
)
def case(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[contextlib.AbstractAsyncContextManager[Case]]:
    if not request.param.startswith("mqtt"):
        yield CASES[request.param](None)
        return
    if BINARY is None:
        pytest.skip("mosquitto is not installed")
    with running_mosquitto(tmp_path) as broker:
        yield CASES[request.param](broker)


async def collect(case: Case, wanted: int, got: list[Message]) -> None:
    """Serve, send, and stop once everything is there."""
    enough = asyncio.Event()

    def deliver(messages: list[Message]) -> None:
        assert messages
        got.extend(messages)
        if len(got) >= wanted:
            enough.set()

    task = asyncio.create_task(case.transport.serve(deliver), name="serve")
    async with asyncio.timeout(10):
        await case.transport.ready()
        case.send(PAYLOADS[:wanted])
        await enough.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_payloads_arrive_whole_in_order_and_counted(case: Cases) -> None:
    got: list[Message] = []
    async with case as under_test:
        await collect(under_test, 100, got)
    assert [message.payload for message in got] == PAYLOADS
    assert len({message.stream for message in got}) == 1
    assert under_test.transport.counters["received"] == 100


async def test_arrival_times_never_run_backwards(case: Cases) -> None:
    got: list[Message] = []
    async with case as under_test:
        await collect(under_test, 100, got)
    times = [message.t_arrived_ns for message in got]
    assert times == sorted(times)
    assert all(isinstance(message.t_received_ns, int) for message in got)


async def test_a_bug_in_the_receiver_comes_out_of_serve(case: Cases) -> None:
    def deliver(_messages: list[Message]) -> None:
        raise ZeroDivisionError("a bug")

    async with case as under_test:
        task = asyncio.create_task(under_test.transport.serve(deliver), name="serve")
        await asyncio.wait_for(under_test.transport.ready(), 10)
        under_test.send([b"1"])
        with pytest.raises(ZeroDivisionError, match=r"^a bug$"):
            await asyncio.wait_for(task, 10)


async def test_a_transport_serves_again_after_a_stop(case: Cases) -> None:
    got: list[Message] = []
    async with case as under_test:
        await collect(under_test, 1, got)
        if isinstance(under_test.transport, StreamSocketServer):
            return  # its test client stays with the first port
        got.clear()
        await collect(under_test, 2, got)
    assert [message.payload for message in got] == PAYLOADS[:2]


async def test_memory_publishes_births_then_predictions_then_the_will() -> None:
    births = [Publication("status", b"online", 1, retain=True)]
    transport = MemoryTransport(
        will=Publication("status", b"offline", 1, retain=True), on_connect=lambda: births
    )
    publisher: Publisher = transport
    task = asyncio.create_task(transport.serve(lambda _messages: None), name="serve")
    await transport.ready()
    assert publisher.publish("out/a", b"1")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert transport.published == [("status", b"online"), ("out/a", b"1"), ("status", b"offline")]
    assert transport.retained == {"status": b"offline"}


async def test_memory_counts_what_an_outage_refuses() -> None:
    transport = MemoryTransport()
    transport.connected = False
    assert not transport.publish("out/a", b"1")
    assert (transport.published, transport.counters["dropped_disconnected"]) == ([], 1)


async def test_memory_keeps_answers_to_their_sender() -> None:
    transport = MemoryTransport()

    def deliver(messages: list[Message]) -> None:
        for message in messages:
            assert message.reply is not None
            message.reply(message.payload.upper())

    task = asyncio.create_task(transport.serve(deliver), name="serve")
    await transport.ready()
    transport.feed("a", b"x", b"y")
    task.cancel()
    assert transport.replies == [("a", b"X"), ("a", b"Y")]


async def test_feeding_a_transport_that_nobody_serves_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="nobody serves this transport"):
        MemoryTransport().feed("a", b"1")
