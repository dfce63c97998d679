"""Every way in with every way out: the same samples give the same predictions."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.config.load import Settings, load_config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Sample
from stream_rnn.transports.base import Message
from stream_rnn.transports.cut import CUTTERS
from stream_rnn.transports.datagram import DatagramServer, UdpSettings, UnixDatagramSettings
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.stdio import StdioSettings, StdioTransport
from stream_rnn.transports.stream_settings import TcpSettings
from stream_rnn.transports.stream_socket import StreamSocketServer
from stream_rnn.wire import CODECS
from tests.broker import needs_mosquitto, running_mosquitto
from tests.small import saved_model, small_model

COUNT = 1000
XS: F32 = np.random.default_rng(11).poisson(2, (COUNT, 5)).astype(np.float32)
WINDOW = 8  # datagrams under way, so that no socket's buffer overflows


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield f"mqtt://127.0.0.1:{broker.port}"


class Wired:
    """A daemon with one source besides MQTT, and what came out of it."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        self.published: list[bytes] = []
        self.replied: list[bytes] = []

    def take(self, messages: list[Message]) -> None:
        self.published += [m.payload for m in messages if "/predictions/" in m.topic]

    async def until(self, count: int, sink: str) -> None:
        async with asyncio.timeout(20):
            while sink != "sender" and len(self.published) < count:  # noqa: ASYNC110 - counts, not events
                await asyncio.sleep(0.001)
            while sink != "mqtt" and len(self.replied) < count:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def wired(folder: Path, url: str, section: str, values: dict[str, object]) -> AsyncIterator[Wired]:
    path = saved_model(folder, small_model())
    flags: Settings = {"model": {"path": str(path)}, "mqtt": {"url": url}, section: values}
    daemon = Daemon(load_config(None, {}, flags), Predictor.load(path), lambda *_: None)
    daemon.open_configured()
    here = Wired(daemon, folder)
    watching = MqttTransport(
        MqttSettings(url=url), topics=["stream_rnn/decoder/predictions/#"], fail_fast=True
    )
    watch = asyncio.create_task(watching.serve(here.take), name="watch")
    task = asyncio.create_task(daemon.run(), name="daemon")
    await watching.ready()
    for source in daemon.sources.values():
        await source.transport.ready()
    try:
        yield here
    finally:
        daemon.stop()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def send_connected(here: Wired, name: str, framing: str, sink: str) -> None:
    server = here.daemon.sources[name].transport
    assert isinstance(server, StreamSocketServer)
    codec, cutter = CODECS["json" if framing == "lines" else "frame"], CUTTERS[framing](1 << 20)  # type: ignore[index]
    if isinstance(server.settings, TcpSettings):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    else:
        reader, writer = await asyncio.open_unix_connection(server.settings.path)
    writer.write(cutter.join([codec.encode_sample(Sample("a", i, None, x)) for i, x in enumerate(XS)]))
    if sink != "mqtt":
        while len(here.replied) < COUNT:
            here.replied += list(cutter.feed(await reader.read(1 << 16)))
    await here.until(COUNT, sink)
    writer.close()
    await writer.wait_closed()


async def send_datagrams(here: Wired, name: str, sink: str) -> None:
    server = here.daemon.sources[name].transport
    assert isinstance(server, DatagramServer)
    unix = isinstance(server.settings, UnixDatagramSettings)
    address = (
        server.settings.path
        if isinstance(server.settings, UnixDatagramSettings)
        else ("127.0.0.1", server.port)
    )
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(str(here.folder / "client") if unix else ("127.0.0.1", 0))
        client.setblocking(False)  # noqa: FBT003 - the standard library's
        loop = asyncio.get_running_loop()
        loop.add_reader(client, lambda: here.replied.append(client.recv(1 << 16)))
        for i, x in enumerate(XS):
            while i - server.counters["received"] >= WINDOW:  # noqa: ASYNC110 - a count
                await asyncio.sleep(0)
            await loop.sock_sendto(client, CODECS["json"].encode_sample(Sample("a", i, None, x)), address)
            if i % WINDOW == WINDOW - 1:
                await here.until(i + 1 if sink != "mqtt" else 0, "sender")
        await here.until(COUNT, sink)
        loop.remove_reader(client)


def check(payloads: list[bytes], wire: str) -> None:
    predictions = [CODECS[wire].decode_prediction(payload)[0] for payload in payloads]  # type: ignore[index]
    assert [p.seq for p in predictions] == list(range(COUNT))
    np.testing.assert_array_equal(np.array([p.y for p in predictions]), Predictor(small_model()).run(XS))


@pytest.mark.mosquitto
@needs_mosquitto
@pytest.mark.parametrize("sink", ["sender", "mqtt", "both"])
@pytest.mark.parametrize(
    "source", ["tcp lines", "tcp frames", "unix lines", "unix frames", "udp", "unix_datagram"]
)
async def test_every_source_and_sink_gives_the_same_predictions(
    tmp_path: Path, broker_url: str, source: str, sink: str
) -> None:
    section, _, framing = source.partition(" ")
    values: dict[str, object] = {"answer": sink}
    values |= {"path": str(tmp_path / "socket")} if section.startswith("unix") else {"port": 0}
    values |= {"framing": framing} if framing else {}
    async with wired(tmp_path, broker_url, section, values) as here:
        if framing:
            await send_connected(here, section, framing, sink)
        else:
            await send_datagrams(here, section, sink)
    wire = "frame" if framing == "frames" else "json"
    assert (len(here.replied), len(here.published)) == (COUNT * (sink != "mqtt"), COUNT * (sink != "sender"))
    for payloads in (here.replied, here.published):
        if payloads:
            check(payloads, wire)


def piped(command: list[str], samples: bytes) -> bytes:
    return subprocess.run(command, input=samples, stdout=subprocess.PIPE, timeout=60, check=True).stdout


@pytest.mark.mosquitto
@needs_mosquitto
@pytest.mark.parametrize("sink", ["sender", "mqtt", "both"])
@pytest.mark.parametrize("framing", ["lines", "frames"])
async def test_shell_pipe_gives_the_same_predictions(
    tmp_path: Path, broker_url: str, framing: str, sink: str
) -> None:
    model = saved_model(tmp_path, small_model())
    wire = "json" if framing == "lines" else "frame"
    cutter = CUTTERS[framing](1 << 20)  # type: ignore[index]
    samples = cutter.join([CODECS[wire].encode_sample(Sample("a", i, None, x)) for i, x in enumerate(XS)])  # type: ignore[index]
    command = [sys.executable, "-m", "stream_rnn", "run", "--model", str(model), "--stdio"]
    command += ["--broker", broker_url] if sink != "sender" else []
    settings = [f"stdio.framing={framing}", f"stdio.answer={sink}"]
    published: list[bytes] = []

    def take(messages: list[Message]) -> None:
        published.extend(message.payload for message in messages)

    topics = ["stream_rnn/decoder/predictions/#"]
    watching = MqttTransport(MqttSettings(url=broker_url), topics=topics, fail_fast=True)
    watch = asyncio.create_task(watching.serve(take), name="watch")
    await watching.ready()
    command += [f"--set={setting}" for setting in settings]
    done = await asyncio.to_thread(piped, command, samples)
    async with asyncio.timeout(10):
        while sink != "sender" and len(published) < COUNT:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.001)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    replied = list(cutter.feed(done))
    assert (len(replied), len(published)) == (COUNT * (sink != "mqtt"), COUNT * (sink != "sender"))
    for payloads in filter(None, (replied, published)):
        check(payloads, wire)


async def test_late_answer_of_a_pipe_is_written_at_once() -> None:
    (samples, feed), (results, out) = os.pipe(), os.pipe()
    ended = asyncio.Event()
    waiting: list[Message] = []
    transport = StdioTransport(StdioSettings(), on_end=ended.set, descriptors=(samples, out))
    task = asyncio.create_task(transport.serve(waiting.extend), name="stdio")
    os.write(feed, b"one\ntwo\n")
    os.close(feed)
    await asyncio.wait_for(ended.wait(), 10)
    for message in waiting:
        assert message.reply is not None
        message.reply(message.payload.upper())
    assert os.read(results, 100) == b"ONE\nTWO\n"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for descriptor in (samples, results, out):
        os.close(descriptor)


async def test_datagram_that_is_too_long_is_refused_and_counted() -> None:
    server = DatagramServer(UdpSettings(port=0, max_bytes=10))
    got: list[bytes] = []
    task = asyncio.create_task(server.serve(lambda ms: got.extend(m.payload for m in ms)), name="udp")
    await server.ready()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for payload in (b"x" * 11, b"y" * 10):
            client.sendto(payload, ("127.0.0.1", server.port))
    async with asyncio.timeout(10):
        while not got:  # noqa: ASYNC110 - a list, not an event
            await asyncio.sleep(0)
    assert (got, server.counters["refused_size"]) == ([b"y" * 10], 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_address_in_use_is_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            TransportError, match=rf"^udp 127.0.0.1:{port}: cannot listen: Address already in use$"
        ):
            await DatagramServer(UdpSettings(port=port)).serve(lambda _: None)


def test_answer_to_a_broker_that_is_not_there_is_refused() -> None:
    flags: Settings = {"model": {"path": "m"}, "udp": {"port": 0, "answer": "mqtt"}}
    with pytest.raises(
        ConfigError, match=r"^config: udp.answer: expected a section \[mqtt\] for 'mqtt', got none$"
    ):
        load_config(None, {}, flags)
