"""Stream sockets, TCP or Unix: each connection is a stream of its own, and answers go back to the sender.

Backpressure is the socket itself: while a read is being answered, nothing more is read.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Annotated, Any, cast

import msgspec

from stream_rnn.errors import TransportError, WireError
from stream_rnn.transports import unix
from stream_rnn.transports.base import Deliver, Message, Report, no_report
from stream_rnn.transports.cut import CUTTERS, Framing

LARGE_READ = (
    1 << 16
)  # bytes; uvloop follows a read that fills its buffer with up to 31 more, and nothing else runs
PROBES = 3  # without an answer, before a client counts as gone
CLOSE_S = 1.0  # how long a stopping server waits for its clients to take the last answers


Factory = Callable[[], asyncio.Protocol]


class ConnectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How payloads are cut out of a connection's bytes, and how much is held.

    Attributes:
        framing: `lines` (each payload ends with a newline) or `frames` (32-bit length, then the payload).
        max_bytes: Longest payload; a longer one closes its connection.
        max_outgoing_bytes: Answers held for a client that does not read; beyond, it is disconnected.
        max_connections: Clients at a time; one more is refused.
    """

    framing: Framing = "lines"
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)] = 1 << 20
    max_outgoing_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 22
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 256


class TcpSettings(ConnectionSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen for TCP clients.

    Attributes:
        host: Address to listen on; loopback unless told.
        port: Port to listen on; 0 takes a free one.
        keepalive_s: A client that was silent for so long is probed, three times at most; one that is gone
            without a word is then forgotten.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    keepalive_s: Annotated[int, msgspec.Meta(ge=1, le=32767)] = 30

    async def listen(self, factory: Factory) -> asyncio.Server:
        """Open the port.

        Raises:
            TransportError: The address cannot be listened on.
        """
        try:
            return await asyncio.get_running_loop().create_server(factory, self.host, self.port)
        except OSError as error:
            raise _refused(f"tcp {self.host}:{self.port}", error) from None

    def close(self) -> None:
        """Leave nothing behind."""

    def key(self, peer: Any, _number: int) -> str:  # noqa: ANN401 - whatever the family calls an address
        """Stream key of a client: its address."""
        host, port = peer[:2]
        return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"


class UnixSettings(ConnectionSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen for clients of a Unix socket.

    Attributes:
        path: Socket file; a stale one is replaced.
    """

    path: str

    async def listen(self, factory: Factory) -> asyncio.Server:
        """Make the socket file.

        Raises:
            TransportError: The path cannot be listened on.
        """
        unix.claim(self.path, socket.SOCK_STREAM)
        try:
            return await asyncio.get_running_loop().create_unix_server(factory, self.path)
        except OSError as error:
            raise _refused(f"unix {self.path}", error) from None

    def close(self) -> None:
        """Remove the socket file."""
        unix.release(self.path)

    def key(self, _peer: Any, number: int) -> str:  # noqa: ANN401 - as above
        """Stream key of a client, which has no address: the number of its connection."""
        return f"unix:{number}"


class StreamSocketServer:
    """Listens, delivers, and writes answers back.

    Args:
        settings: Where and how.
        report: Takes listening, connected, closed, refused (framing), dropped (does not read).
        on_close: Takes the stream key of a connection that ended: a later client may get the same port.

    Attributes:
        port: The TCP port it listens on, once ready.
        counters: received, replied, connections, refused_size, refused_connections, truncated (bytes of an
            unfinished payload at the end), dropped_slow (connections), dropped_disconnected (answers).
    """

    def __init__(
        self,
        settings: TcpSettings | UnixSettings,
        *,
        report: Report = no_report,
        on_close: Callable[[str], None] = lambda _stream: None,
    ) -> None:
        self.settings = settings
        self.report = report
        self.on_close = on_close
        self.port = 0
        self.counters = dict.fromkeys(
            ("received", "replied", "connections", "refused_size", "refused_connections", "truncated"), 0
        )
        self.counters.update(dropped_slow=0, dropped_disconnected=0)
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._ready = asyncio.Event()

    async def serve(self, deliver: Deliver) -> None:
        """Listen until cancelled; then let the clients take their last answers.

        Raises:
            TransportError: The address cannot be listened on.
        """
        bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        server = await self.settings.listen(lambda: Connection(self, deliver, bug))
        try:
            name = server.sockets[0].getsockname()
            if isinstance(self.settings, TcpSettings):
                self.port = name[1]
                self.report("listening", f"tcp {self.settings.host}:{self.port}")
            else:
                self.report("listening", f"unix {name}")
            self._ready.set()
            await bug
        finally:
            self._ready.clear()
            server.close()
            self.settings.close()
            await self._close_connections()

    @property
    def up(self) -> bool:
        """Whether it listens."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Return once it listens."""
        await self._ready.wait()

    async def _close_connections(self) -> None:
        closing = [connection.lost for connection in self.connections]
        for connection in list(self.connections):
            connection.close()
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)
        for connection in list(self.connections):
            connection.drop()


class Connection(asyncio.Protocol):
    """One client. Its answers to one read leave in one write."""

    def __init__(self, server: StreamSocketServer, deliver: Deliver, bug: "asyncio.Future[None]") -> None:
        self.stream = ""
        self.lost: asyncio.Future[None] = bug.get_loop().create_future()
        self._server = server
        self._deliver = deliver
        self._bug = bug
        self._cutter = CUTTERS[server.settings.framing](server.settings.max_bytes)
        self._transport: asyncio.Transport
        self._answers: list[bytes] = []
        self._reply = self.reply  # one for all messages
        self._reading = False
        self._ending = False
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Name the stream, or refuse one client too many."""
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        server = self._server
        server.accepted += 1
        self.stream = server.settings.key(transport.get_extra_info("peername"), server.accepted)
        if len(server.connections) >= server.settings.max_connections:
            server.counters["refused_connections"] += 1
            server.report(
                "refused", f"{self.stream}: {len(server.connections)} clients are connected already"
            )
            transport.abort()
            return
        if isinstance(server.settings, TcpSettings):
            _set_up(transport.get_extra_info("socket"), server.settings.keepalive_s)
        transport.set_write_buffer_limits(
            high=0
        )  # send at once, whatever the loop, and tell what is left over
        server.connections.add(self)
        server.counters["connections"] += 1
        server.report("connected", self.stream)

    def data_received(self, data: bytes) -> None:
        """Deliver what one read brought, then write its answers at once."""
        if self._ending:
            return
        messages: list[Message] = []
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        stream, reply, append = self.stream, self._reply, messages.append
        error = None
        try:
            for payload in self._cutter.feed(data):
                append(
                    Message(stream, payload, t_received_ns, t_arrived_ns, reply)
                )  # those before an error must stay
        except WireError as exc:
            error = exc
        if messages:
            self._server.counters["received"] += len(messages)
            self._answer(messages)
        if error is not None:
            self._server.counters["refused_size"] += 1
            self._server.report("refused", f"{self.stream}: {error}")
            self.close()
        elif len(data) >= LARGE_READ and not self._transport.is_closing():
            self._transport.pause_reading()
            self.lost.get_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        """Read again: timers, signals and other clients have had their turn."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer(self, messages: list[Message]) -> None:
        self._reading = True
        try:
            self._deliver(messages)
        except Exception as exc:  # noqa: BLE001  # a bug: serve raises it, where it can be seen
            if not self._bug.done():
                self._bug.set_exception(exc)
        finally:
            self._reading = False
        self._write()

    def reply(self, payload: bytes) -> None:
        """Answer this client: with the others of the same read, or at once when no read is under way."""
        self._answers.append(payload)
        if not self._reading:
            self._write()

    def _write(self) -> None:
        if not self._answers:
            return
        answers, self._answers = self._answers, []
        if self._ending or self.lost.done() or self._transport.is_closing():
            self._server.counters["dropped_disconnected"] += len(answers)
            return
        self._server.counters["replied"] += len(answers)
        self._transport.write(self._cutter.join(answers))
        limit = self._server.settings.max_outgoing_bytes
        if self._full and self._transport.get_write_buffer_size() > limit:
            self._disconnect_slow(limit)

    def pause_writing(self) -> None:
        """The socket does not take everything."""
        self._full = True

    def resume_writing(self) -> None:
        """The socket has taken everything."""
        self._full = False

    def _disconnect_slow(self, limit: int) -> None:
        """Disconnect a client that does not read: more than `max_outgoing_bytes` wait for it."""
        self._server.counters["dropped_slow"] += 1
        self._server.report("dropped", f"{self.stream}: does not read; over {limit} bytes wait for it")
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, count what it left unfinished, tell its stream's owner."""
        if not self.lost.done():
            self.lost.set_result(None)
        if self not in self._server.connections:
            return
        self._server.connections.discard(self)
        self._server.counters["truncated"] += self._cutter.pending
        self._server.report("closed", f"{self.stream}: {exc}" if exc else self.stream)
        self._server.on_close(self.stream)

    def close(self) -> None:
        """End once the client has had every answer and closes its side, or after a while.

        A socket closed over unread bytes resets the connection, and the last answers are lost: what still
        comes is read and let go.
        """
        if not self._ending and not self._transport.is_closing():
            self._ending = True
            self._transport.write_eof()
            self.lost.get_loop().call_later(CLOSE_S, self.drop)

    def drop(self) -> None:
        """Close now."""
        with contextlib.suppress(OSError):
            self._transport.abort()


def _set_up(sock: socket.socket, keepalive_s: int) -> None:
    """Send at once, and notice a client that vanished: no byte would ever tell."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS calls it otherwise
    idle = getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE  # type: ignore[attr-defined]
    sock.setsockopt(socket.IPPROTO_TCP, idle, keepalive_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, keepalive_s // PROBES))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


def _refused(name: str, error: OSError) -> TransportError:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return TransportError(f"{name}: cannot listen: {reason}")
