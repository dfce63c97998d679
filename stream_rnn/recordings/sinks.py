"""Where a replay can go: a broker, or the sockets a daemon listens on."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.recordings.replay import Send
from stream_rnn.sample import Sample
from stream_rnn.transports.admission import greeting, refusal_of
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.wire import CODECS

JSON = CODECS["json"]
FROM_ENVIRONMENT = ("username", "password", "ca_file", "cert_file", "key_file")
LAST_ANSWER_S = 5.0  # how long the answers of a connection are waited for at the end

Drain: TypeAlias = Callable[[], Awaitable[None]]
"""Returns once everything sent has left."""

Sink: TypeAlias = AbstractAsyncContextManager[tuple[Send, Drain]]
"""Open while the context lasts."""


def sink_of(url: str, topic: str) -> Sink:
    """The sink that a URL names; nothing is opened yet. Secrets stand in the environment, as the daemon's do.

    Args:
        url: `mqtt(s)://host:port`, `tcp://host:port`, `udp://host:port`, `unix:///path`, `unixgram:///path`.
        topic: Template of the topic, over MQTT.

    Raises:
        ConfigError: It names none.
    """
    shown = repr(url) if "@" not in url else "one with a user name or password"
    expected = f"--to: expected {', '.join(f'{scheme}://' for scheme in SINKS)}, or direct, got {shown}"
    try:
        parts = urlsplit(url)
        by_path = parts.scheme.startswith("unix")
        named = bool(parts.path) if by_path else bool(parts.hostname)
        port = parts.port
        if parts.scheme not in {"mqtt", "mqtts"} and not by_path:
            named = named and port is not None
    except ValueError:
        raise ConfigError(expected) from None
    if "@" in parts.netloc:
        raise ConfigError(
            "--to: expected no user name or password in it: every user of this machine can read a command "
            "line"
        )
    if parts.scheme not in SINKS or not named:
        raise ConfigError(expected)
    return SINKS[parts.scheme](parts, topic)


@contextlib.asynccontextmanager
async def _mqtt(parts: SplitResult, topic: str) -> AsyncIterator[tuple[Send, Drain]]:
    told: dict[str, Any] = {
        name: os.environ.get(f"STREAM_RNN_MQTT__{name.upper()}") for name in FROM_ENVIRONMENT
    }
    if told["username"] is None:
        told["password"] = None
    settings = MqttSettings(url=parts.geturl(), max_outgoing=1_000_000, **told)
    transport = MqttTransport(settings, topics=[], fail_fast=True)
    serving = asyncio.create_task(transport.serve(lambda _: None), name="serve")
    ready = asyncio.create_task(transport.ready(), name="ready")
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        await serving

    def send(sample: Sample) -> bool:
        bare = Sample("", sample.seq, sample.t_ns, sample.x)
        return transport.publish(topic.replace("{stream}", sample.stream), JSON.encode_sample(bare), qos=0)

    async def drain() -> None:
        await asyncio.sleep(0)

    try:
        yield send, drain
    finally:
        serving.cancel()  # it sends what is left before it goes
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@contextlib.asynccontextmanager
async def _connected(parts: SplitResult, _topic: str) -> AsyncIterator[tuple[Send, Drain]]:
    """JSON lines over a connection, behind the token that the environment holds."""
    try:
        if parts.scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(parts.path)
        else:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise _unreachable(parts, error) from None
    answered = asyncio.create_task(_read_all(reader), name="answers")
    token = os.environ.get("STREAM_RNN_TCP__TOKEN") if parts.scheme == "tcp" else None
    if token:
        writer.write(greeting(token) + b"\n")

    def send(sample: Sample) -> bool:
        if writer.is_closing():
            return False
        writer.write(JSON.encode_sample(sample) + b"\n")
        return True

    async def drain() -> None:
        with contextlib.suppress(ConnectionError):  # what it said before it hung up tells more
            await writer.drain()
            writer.write_eof()
        with contextlib.suppress(TimeoutError):
            refusal = await asyncio.wait_for(answered, LAST_ANSWER_S)
            if refusal is not None:
                raise TransportError(f"{parts.scheme}://{parts.netloc}: {refusal} (STREAM_RNN_TCP__TOKEN)")

    try:
        yield send, drain
    finally:
        answered.cancel()
        writer.close()


async def _read_all(reader: asyncio.StreamReader) -> str | None:
    """Read answers so that the daemon is never held up by us; why we are not let in, if we are not."""
    refusal = None
    with contextlib.suppress(ConnectionError):
        first = await reader.read(1 << 16)
        refusal = refusal_of(first.partition(b"\n")[0])
        while await reader.read(1 << 16):
            pass
    return refusal


@contextlib.asynccontextmanager
async def _datagrams(parts: SplitResult, _topic: str) -> AsyncIterator[tuple[Send, Drain]]:
    """One JSON datagram a sample; one that the receiver has no room for is counted as not taken."""
    try:
        if parts.scheme == "unixgram":
            family, address = socket.AF_UNIX, parts.path
        else:
            family, _, _, _, address = socket.getaddrinfo(  # type: ignore[assignment]  # of one family or another
                parts.hostname, parts.port, type=socket.SOCK_DGRAM
            )[0]
        sender = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise _unreachable(parts, error) from None
    try:
        sender.connect(address)
    except OSError as error:
        sender.close()
        raise _unreachable(parts, error) from None
    sender.settimeout(0)

    def send(sample: Sample) -> bool:
        try:
            sender.send(JSON.encode_sample(sample))
        except OSError:  # full, or nobody there: datagrams promise no more
            return False
        return True

    async def drain() -> None:
        await asyncio.sleep(0)

    try:
        yield send, drain
    finally:
        sender.close()


def _unreachable(parts: SplitResult, error: OSError) -> TransportError:
    where = parts.path if parts.scheme.startswith("unix") else parts.netloc
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return TransportError(f"{parts.scheme}://{where}: {reason}")


SINKS: dict[str, Callable[[SplitResult, str], Sink]] = {
    "mqtt": _mqtt,
    "mqtts": _mqtt,
    "tcp": _connected,
    "unix": _connected,
    "udp": _datagrams,
    "unixgram": _datagrams,
}
"""How each scheme is opened."""
