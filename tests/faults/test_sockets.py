"""Clients that vanish, and datagrams that come faster than they are read: noticed and counted."""

import asyncio
import socket
import sys

import pytest

from stream_rnn.transports.base import Message
from stream_rnn.transports.datagram import DatagramServer, UdpSettings
from stream_rnn.transports.stream_settings import TcpSettings
from stream_rnn.transports.stream_socket import StreamSocketServer

TCP_REPAIR = 19

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@linux
async def test_every_datagram_is_delivered_or_counted_as_dropped_by_the_kernel() -> None:
    server, sent = DatagramServer(UdpSettings(port=0)), 0
    flooded = asyncio.Event()

    def deliver(_messages: list[Message]) -> None:
        nonlocal sent
        if not flooded.is_set():  # while we work, nobody reads
            flooded.set()
            for _ in range(20_000):
                sent += client.send(bytes(1000)) > 0

    task = asyncio.create_task(server.serve(deliver), name="serve")
    await server.ready()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", server.port))
        sent += client.send(b"first") > 0
        await flooded.wait()
        assert server.counters["dropped_kernel"] > 0
        async with asyncio.timeout(10):
            # nobody sets an event then
            while server.counters["received"] + server.counters["dropped_kernel"] < sent:  # noqa: ASYNC110
                await asyncio.sleep(0)
    dropped = server.counters["dropped_kernel"]
    assert server.counters["received"] + dropped == sent
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert server.counters["dropped_kernel"] == dropped


async def test_silent_client_is_probed() -> None:
    server = StreamSocketServer(TcpSettings(port=0, keepalive_s=12))
    task = asyncio.create_task(server.serve(lambda _messages: None), name="serve")
    await server.ready()
    with socket.create_connection(("127.0.0.1", server.port)):
        async with asyncio.timeout(10):
            while not server.connections:  # noqa: ASYNC110 - nobody sets an event then
                await asyncio.sleep(0)
        (connection,) = server.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = (
            "TCP_KEEPINTVL",
            "TCP_KEEPCNT",
            "TCP_KEEPIDLE" if sys.platform == "linux" else "TCP_KEEPALIVE",
        )
        options = [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        assert options == [4, 3, 12]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@linux
async def test_client_that_vanished_without_a_word_is_forgotten() -> None:
    closed: asyncio.Queue[str] = asyncio.Queue()
    server = StreamSocketServer(TcpSettings(port=0, keepalive_s=1), on_close=closed.put_nowait)
    task = asyncio.create_task(server.serve(lambda _messages: None), name="serve")
    await server.ready()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        name = "tcp:127.0.0.1:{1}".format(*client.getsockname())
        try:
            client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)  # closing it then sends nothing
        except PermissionError:
            pytest.skip("only root can make a connection vanish")
    async with asyncio.timeout(10):
        assert await closed.get() == name
    assert not server.connections
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
