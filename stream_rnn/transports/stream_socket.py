"""Stream sockets, TCP or Unix: each connection is a stream of its own, and answers go back to the sender.

Backpressure is the socket itself: while a read is being answered, nothing more is read.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import cast

from stream_rnn.errors import WireError
from stream_rnn.transports import admission
from stream_rnn.transports.base import Deliver, Message, Report, no_report
from stream_rnn.transports.cut import CUTTERS
from stream_rnn.transports.stream_settings import TcpSettings, UnixSettings

LARGE_READ = 1 << 16  # bytes; uvloop follows a read that fills its buffer with up to 31 more at once
CLOSE_S = 1.0  # how long a stopping server waits for its clients to take the last answers

COUNTERS = (
    "received",
    "replied",
    "connections",
    "refused_size",
    "refused_token",
    "refused_connections",
    "truncated",
    "dropped_slow",
    "dropped_disconnected",
)


class StreamSocketServer:
    """Listens, delivers, and writes answers back.

    Args:
        settings: Where and how.
        report: Takes listening, connected, closed, refused (framing), dropped (does not read).
        on_open: Takes the stream key of a connection that begins.
        on_close: Takes the stream key of a connection that ended: a later client may get the same port.

    Attributes:
        port: The TCP port it listens on, once ready.
        counters: received, replied, connections, refused_size, refused_token, refused_connections, truncated
            (bytes of an unfinished payload at the end), dropped_slow (connections), dropped_disconnected
            (answers).
    """

    def __init__(
        self,
        settings: TcpSettings | UnixSettings,
        *,
        report: Report = no_report,
        on_open: Callable[[str], None] = lambda _stream: None,
        on_close: Callable[[str], None] = lambda _stream: None,
    ) -> None:
        self.settings = settings
        self.report = report
        self.on_open, self.on_close = on_open, on_close
        self.port = 0
        self.counters = dict.fromkeys(COUNTERS, 0)
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
        self._token = server.settings.token if isinstance(server.settings, TcpSettings) else None
        self._deliver = deliver if self._token is None else self._admit
        self._admitted = deliver
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
        server.settings.prepare(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(
            high=0
        )  # send at once, whatever the loop, and tell what is left over
        server.connections.add(self)
        server.on_open(self.stream)
        server.counters["connections"] += 1
        if self._token is not None:
            self.lost.get_loop().call_later(admission.PATIENCE_S, self._hurry)
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
        elif self._token is not None and self._cutter.pending > admission.MAX_GREETING:
            self._refuse(admission.refused("something longer"))
        elif len(data) >= LARGE_READ and not self._transport.is_closing():
            self._transport.pause_reading()
            self.lost.get_loop().call_soon(self._read_on)

    def _admit(self, messages: list[Message]) -> None:
        """Stand in for `deliver` until the token was said."""
        assert self._token is not None
        if self._ending:
            return
        self._server.counters["received"] -= 1  # no sample
        try:
            admission.check_greeting(messages[0].payload, self._token)
        except WireError as error:
            self._server.counters["received"] -= len(messages) - 1
            self._refuse(error)
            return
        self._token, self._deliver = None, self._admitted
        if len(messages) > 1:
            self._deliver(messages[1:])

    def _hurry(self) -> None:
        """End a connection that has said nothing for too long."""
        if self._token is not None and not self.lost.done() and not self._ending:
            self._refuse(admission.refused(f"none within {admission.PATIENCE_S:g} s"))

    def _refuse(self, error: WireError) -> None:
        """End a connection that does not say the token; it is told so once."""
        self._server.counters["refused_token"] += 1
        self._server.report("refused", f"{self.stream}: {error}")
        if self._server.settings.framing == "lines":
            self._transport.write(self._cutter.join([admission.refusal(error)]))
        self.close()

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
