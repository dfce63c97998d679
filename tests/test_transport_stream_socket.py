import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream_rnn.errors import TransportError
from stream_rnn.transports.base import Deliver, Message
from stream_rnn.transports.cut import CUTTERS, Framing
from stream_rnn.transports.stream_settings import TcpSettings, UnixSettings
from stream_rnn.transports.stream_socket import StreamSocketServer

Reports = list[tuple[str, str]]


def echo(messages: list[Message]) -> None:
    for message in messages:
        assert message.reply is not None
        message.reply(message.payload)


@contextlib.asynccontextmanager
async def serving(server: StreamSocketServer, deliver: Deliver = echo) -> AsyncIterator[StreamSocketServer]:
    task = asyncio.create_task(server.serve(deliver), name="serve")
    await asyncio.wait_for(server.ready(), 5)
    yield server
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def make(reports: Reports | None = None, **settings: object) -> StreamSocketServer:
    noted = [] if reports is None else reports
    return StreamSocketServer(
        TcpSettings(port=0, **settings),  # type: ignore[arg-type]  # cases give any field
        report=lambda kind, detail: noted.append((kind, detail)),
    )


async def client(server: StreamSocketServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def at(path: Path, **settings: object) -> StreamSocketServer:
    return StreamSocketServer(UnixSettings(path=str(path), **settings))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("framing", ["lines", "frames"])
async def test_answers_come_back_in_the_framing_of_the_question(framing: Framing) -> None:
    async with serving(make(framing=framing)) as server:
        reader, writer = await client(server)
        data = CUTTERS[framing].join([b"[1]", b"[2]"])
        writer.write(data)
        assert await asyncio.wait_for(reader.readexactly(len(data)), 5) == data
        await end(writer)


async def test_one_read_is_delivered_and_answered_at_once() -> None:
    batches: list[int] = []

    def deliver(messages: list[Message]) -> None:
        batches.append(len(messages))
        echo(messages)

    async with serving(make(), deliver) as server:
        reader, writer = await client(server)
        writer.write(b"1\n" * 40)
        answer = await asyncio.wait_for(reader.read(1 << 16), 5)  # one write, thus one read
        assert (batches, answer) == ([40], b"1\n" * 40)
        await end(writer)


async def test_each_connection_is_a_stream_of_its_own_until_it_closes() -> None:
    streams: list[str] = []
    closed: asyncio.Queue[str] = asyncio.Queue()
    server = StreamSocketServer(TcpSettings(port=0), on_close=closed.put_nowait)

    def deliver(messages: list[Message]) -> None:
        streams.extend(message.stream for message in messages)
        echo(messages)

    async with serving(server, deliver):
        clients = [await client(server) for _ in range(2)]
        for reader, writer in clients:
            writer.write(b"1\n")
            await asyncio.wait_for(reader.readline(), 5)
        names = ["tcp:127.0.0.1:{}".format(writer.get_extra_info("sockname")[1]) for _, writer in clients]
        assert streams == names
        await end(clients[0][1])
        assert await asyncio.wait_for(closed.get(), 5) == names[0]
        await end(clients[1][1])


@pytest.mark.parametrize(
    ("framing", "bad", "message"),
    [
        ("lines", b"x" * 99, "line: expected at most 16 bytes, got more"),
        ("frames", b"\xff\0\0\0", "frame: expected at most 16 bytes, got 255"),
    ],
)
async def test_a_framing_error_closes_that_connection_only(
    framing: Framing, bad: bytes, message: str
) -> None:
    reports: Reports = []
    async with serving(make(reports, framing=framing, max_bytes=16)) as server:
        good, broken = await client(server), await client(server)
        whole = CUTTERS[framing].join([b"[1]"])
        broken[1].write(whole + bad)
        assert await asyncio.wait_for(broken[0].read(), 5) == whole
        good[1].write(whole)
        assert await asyncio.wait_for(good[0].readexactly(len(whole)), 5) == whole
        assert server.counters["refused_size"] == 1
        port = broken[1].get_extra_info("sockname")[1]
        assert ("refused", f"tcp:127.0.0.1:{port}: {message}") in reports
        await end(good[1])
        await end(broken[1])


async def test_a_client_that_does_not_read_is_dropped_and_counted() -> None:
    reports: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    server = StreamSocketServer(
        TcpSettings(port=0, max_outgoing_bytes=1000), report=lambda *what: reports.put_nowait(what)
    )

    def deliver(messages: list[Message]) -> None:
        for message in messages:
            assert message.reply is not None
            message.reply(b"x" * (1 << 23))

    async with serving(server, deliver):
        with socket.create_connection(("127.0.0.1", server.port)) as lazy:
            lazy.sendall(b"1\n")
            async with asyncio.timeout(5):
                while (await reports.get())[0] != "dropped":
                    pass
            assert server.counters["dropped_slow"] == 1


async def test_an_unfinished_payload_at_the_end_is_counted() -> None:
    closed = asyncio.Event()
    server = StreamSocketServer(TcpSettings(port=0), on_close=lambda _stream: closed.set())
    async with serving(server):
        _, writer = await client(server)
        writer.write(b"[1, 2")
        await end(writer)
        await asyncio.wait_for(closed.wait(), 5)
        assert server.counters["truncated"] == 5


async def test_an_answer_after_the_end_of_the_connection_is_counted() -> None:
    kept: list[Message] = []
    closed = asyncio.Event()
    server = StreamSocketServer(TcpSettings(port=0), on_close=lambda _stream: closed.set())
    async with serving(server, kept.extend):
        _, writer = await client(server)
        writer.write(b"1\n")
        await end(writer)
        await asyncio.wait_for(closed.wait(), 5)
        assert kept[0].reply is not None
        kept[0].reply(b"late")
        assert server.counters["dropped_disconnected"] == 1


async def test_one_client_too_many_is_refused() -> None:
    async with serving(make(max_connections=1)) as server:
        reader, writer = await client(server)
        writer.write(b"1\n")
        await asyncio.wait_for(reader.readline(), 5)
        second, second_writer = await client(server)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(second.read(), 5) == b""
        assert server.counters["refused_connections"] == 1
        await end(writer)
        await end(second_writer)


async def test_sockets_do_not_wait_for_more_to_send() -> None:
    async with serving(make()) as server:
        reader, writer = await client(server)
        writer.write(b"1\n")
        await asyncio.wait_for(reader.readline(), 5)
        (connection,) = server.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await end(writer)


async def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(TransportError) as caught:
            await StreamSocketServer(TcpSettings(port=port)).serve(echo)
        assert str(caught.value) == f"tcp 127.0.0.1:{port}: cannot listen: Address already in use"


async def test_each_client_of_a_unix_socket_is_a_stream_and_is_answered(tmp_path: Path) -> None:
    streams: list[str] = []

    def deliver(messages: list[Message]) -> None:
        streams.extend(message.stream for message in messages)
        echo(messages)

    async with serving(at(tmp_path / "socket"), deliver):
        for number in (1, 2):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
            writer.write(b"[%d]\n" % number)
            assert await asyncio.wait_for(reader.readline(), 5) == b"[%d]\n" % number
            await end(writer)
    assert streams == ["unix:1", "unix:2"]
    assert not (tmp_path / "socket").exists()


async def test_socket_file_of_a_killed_daemon_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "socket"))
    async with serving(at(tmp_path / "socket")):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(b"1\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"1\n"
        await end(writer)


async def test_socket_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    async def refusal(path: Path) -> str:
        with pytest.raises(TransportError) as caught:
            await at(path).serve(echo)
        return str(caught.value)

    busy, file, long = tmp_path / "busy", tmp_path / "file", tmp_path / ("x" * 108)
    file.touch()
    async with serving(at(busy)):
        assert await refusal(busy) == f"unix {busy}: cannot listen: Address already in use"
        reader, writer = await asyncio.open_unix_connection(busy)
        writer.write(b"1\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"1\n"
        await end(writer)
    assert await refusal(file) == f"unix {file}: expected a socket or nothing there, got another file"
    assert await refusal(long) == f"unix {long}: expected a path of at most 107 bytes, got a longer one"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other_kind:
        other_kind.bind(str(tmp_path / "datagrams"))
        refused = await refusal(tmp_path / "datagrams")
    assert refused == f"unix {tmp_path / 'datagrams'}: cannot listen: Protocol wrong type for socket"
