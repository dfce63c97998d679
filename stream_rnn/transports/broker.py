"""An MQTT broker inside the program: loopback, anonymous, MQTT 3.1.1. For demos and tests, not for fleets."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import cast

from amqtt.broker import Broker  # type: ignore[import-untyped]  # it ships no types
from amqtt.errors import BrokerError  # type: ignore[import-untyped]  # likewise

from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.transports.admission import is_loopback

ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"


@contextlib.asynccontextmanager
async def serve_broker(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Run a broker on this event loop, for as long as the context lasts.

    Args:
        host: A loopback address; anybody who reaches it may publish.
        port: The port; 0 takes a free one.

    Yields:
        The port it listens on. Clients connect with MQTT version "3.1.1".

    Raises:
        ConfigError: The host is not a loopback address.
        TransportError: The address cannot be listened on.
    """
    if not is_loopback(host):
        raise ConfigError(f"broker host: expected a loopback address, got {host!r}: anybody may log in")
    for name in ("amqtt", "transitions"):  # it logs each connection, and a failed start with its traceback
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # amqtt listens on 0.0.0.0 unless every listener is named; its default plugins log every packet.
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
        "plugins": {ANONYMOUS: {"allow_anonymous": True}},
    }
    broker = Broker(config)
    try:
        await broker.start()
    except BrokerError as exc:
        cause = exc.__cause__
        reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(exc)
        raise TransportError(f"broker {host}:{port}: cannot listen: {reason}") from None
    try:
        yield _port(broker)
    finally:
        await broker.shutdown()


def run_broker(port: int, pipe: Connection) -> None:
    """Run a broker as a process: the target of `multiprocessing.get_context("spawn").Process`.

    It sends the port (int) once it listens, or the error (str), and ends when the other end of the pipe
    closes: by itself when the parent dies.

    Args:
        port: The port; 0 takes a free one.
        pipe: This process' end. The parent closes its own copy of this end after the start.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    asyncio.run(_serve_until_closed(port, pipe))


async def _serve_until_closed(port: int, pipe: Connection) -> None:
    closed = asyncio.Event()
    try:
        async with serve_broker(port=port) as bound:
            pipe.send(bound)
            asyncio.get_running_loop().add_reader(pipe.fileno(), closed.set)  # nothing is ever sent: EOF
            await closed.wait()
            asyncio.get_running_loop().remove_reader(pipe.fileno())
    except TransportError as exc:
        pipe.send(str(exc))


def _port(broker: Broker) -> int:
    server = broker._servers["default"].instance  # noqa: SLF001  # amqtt does not tell which free port it took
    server = cast("asyncio.Server", server)  # or uvloop's, which is none by inheritance
    return int(server.sockets[0].getsockname()[1])
