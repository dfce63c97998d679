"""Datagrams, UDP or Unix: each is one payload, each sender a stream of its own, answers go back to it.

One readiness event drains the socket: everything that is there is delivered in one call, then answered: with
as few calls as the system allows.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeAlias

import msgspec

from stream_rnn.errors import TransportError
from stream_rnn.transports import unix
from stream_rnn.transports.base import Deliver, Message, Report, no_report
from stream_rnn.transports.kernel_drops import dropped_by_kernel
from stream_rnn.transports.segments import Answer, can_segment, send_segments

Reply: TypeAlias = Callable[[bytes], None]
"""Takes an answer."""

MAX_BATCH = 256  # datagrams a call; the rest waits for one turn of the loop, so that timers run
MAX_SENDERS = 1 << 16  # whose key and way back are remembered: bounds the memory against made-up addresses
BUFFER_BYTES = 1 << 22  # asked of the kernel: what may wait while we work


class UdpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to take UDP datagrams.

    Attributes:
        host: Address to listen on; loopback unless told.
        port: Port to listen on; 0 takes a free one.
        max_bytes: Longest datagram; a longer one is refused and counted.
        insecure: Listen on an address that is not loopback: whoever reaches it may send, under any sender's
            address, since a datagram proves nothing.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=65507)] = 65507
    insecure: bool = False

    def open(self) -> socket.socket:
        """Bind a socket.

        Raises:
            TransportError: The address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        return _bound(sock, lambda: sock.bind((self.host, self.port)), f"udp {self.host}:{self.port}")

    def key(self, address: Any) -> str:  # noqa: ANN401 - whatever the family calls an address
        """Stream key of a sender."""
        return f"udp:{address[0]}:{address[1]}"


class UnixDatagramSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to take Unix datagrams.

    Attributes:
        path: Socket file; a stale one is replaced.
        mode: Who may send, as the file's permissions: its owner alone, unless told.
        max_bytes: Longest datagram; a longer one is refused and counted.
    """

    path: str
    mode: unix.Mode = unix.OWNER
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 65507

    def open(self) -> socket.socket:
        """Bind a socket.

        Raises:
            TransportError: The path cannot be bound.
        """
        unix.claim(self.path, socket.SOCK_DGRAM)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        return _bound(sock, lambda: unix.bind(sock, self.path, self.mode), f"unix {self.path}")

    def key(self, address: Any) -> str:  # noqa: ANN401 - a path, bytes, or None
        """Stream key of a sender: all that have no name of their own are one."""
        name = os.fsdecode(address) if address else "unnamed"
        return f"unix:{name.replace(chr(0), '@')}"


def _bound(sock: socket.socket, bind: Callable[[], None], name: str) -> socket.socket:
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        bind()
    except OSError as error:
        sock.close()
        raise TransportError(f"{name}: cannot listen: {error.strerror or error}") from None
    return sock


class DatagramServer:
    """Takes datagrams and answers their senders.

    Args:
        settings: Where.
        report: Takes listening, refused.

    Attributes:
        port: The UDP port it listens on, once ready.
        counters: received, replied, refused_size, dropped_full (answers the socket did not take),
            dropped_kernel (datagrams that came while the socket's buffer was full; known on Linux).
    """

    def __init__(self, settings: UdpSettings | UnixDatagramSettings, *, report: Report = no_report) -> None:
        self.settings = settings
        self.port = 0
        self._counters = dict.fromkeys(
            ("received", "replied", "refused_size", "dropped_full", "dropped_kernel"), 0
        )
        self._socket: socket.socket | None = None
        self._dropped_before = 0  # by sockets closed since
        self._report = report
        self._senders: dict[Any, tuple[str, Reply | None]] = {}
        self._segments = False  # whether several answers can leave in one call
        self._held: list[Answer] | None = None  # the answers to what is being delivered, where that pays
        self._ready = asyncio.Event()

    async def serve(self, deliver: Deliver) -> None:
        """Take datagrams until cancelled.

        Raises:
            TransportError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        bug: asyncio.Future[None] = loop.create_future()
        sock = self.settings.open()
        try:
            self._socket = sock
            name = sock.getsockname()
            self.port = name[1] if isinstance(self.settings, UdpSettings) else 0
            self._segments = can_segment(sock)
            self._report("listening", f"{self.settings.key(name)}")
            loop.add_reader(sock, self._drain, sock, deliver, bug)
            self._ready.set()
            await bug
        finally:
            self._ready.clear()
            self._senders.clear()
            loop.remove_reader(sock)
            self._dropped_before = self.counters["dropped_kernel"]
            self._socket = None
            sock.close()
            if isinstance(self.settings, UnixDatagramSettings):
                unix.release(self.settings.path)

    @property
    def counters(self) -> dict[str, int]:
        """See the class."""
        if self._socket is not None:
            self._counters["dropped_kernel"] = self._dropped_before + dropped_by_kernel(self._socket)
        return self._counters

    @property
    def up(self) -> bool:
        """Whether it listens."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Return once it listens."""
        await self._ready.wait()

    def _drain(self, sock: socket.socket, deliver: Deliver, bug: "asyncio.Future[None]") -> None:
        messages: list[Message] = []
        limit, senders, receive = self.settings.max_bytes, self._senders, sock.recvfrom
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        with contextlib.suppress(BlockingIOError):
            while len(messages) < MAX_BATCH:
                payload, address = receive(limit + 1)
                try:
                    key, reply = senders[address]
                except KeyError:
                    key, reply = self._sender(sock, address)
                if len(payload) > limit:
                    self._counters["refused_size"] += 1
                    self._report("refused", f"{key}: expected at most {limit} bytes, got more")
                    continue
                messages.append(Message(key, payload, t_received_ns, t_arrived_ns, reply))
        self._counters["received"] += len(messages)
        if not messages:
            return
        self._held = [] if self._segments and len(messages) > 1 else None
        try:
            deliver(messages)
        except Exception as exc:  # noqa: BLE001  # a bug: serve raises it, where it can be seen
            if not bug.done():
                bug.set_exception(exc)
        held, self._held = self._held, None
        if held:
            taken = send_segments(sock, held)
            self._counters["replied"] += taken
            self._counters["dropped_full"] += len(held) - taken

    def _sender(self, sock: socket.socket, address: Any) -> tuple[str, Reply | None]:  # noqa: ANN401 - as above
        """Key of a sender, and its way back where it has an address."""
        if len(self._senders) >= MAX_SENDERS:
            self._senders.clear()
        reply = partial(self._reply, sock.sendto, address) if address else None
        found = self._senders[address] = self.settings.key(address), reply
        return found

    def _reply(self, send: Callable[[bytes, Any], int], address: Any, answer: bytes) -> None:  # noqa: ANN401 - as above
        if self._held is not None:
            self._held.append((address, answer))
            return
        try:
            send(answer, address)
        except OSError:  # its buffer is full, or the sender is gone: a datagram may be lost, counted
            self._counters["dropped_full"] += 1
        else:
            self._counters["replied"] += 1
