"""Where stream sockets are opened, TCP or Unix, and how much is held for a client."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from stream_rnn.errors import TransportError
from stream_rnn.transports import unix
from stream_rnn.transports.cut import Framing

PROBES = 3  # without an answer, before a client counts as gone

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
        token: What each client must say first, `{"token": "..."}` as a line or a frame; nothing unless told.
            Never shown.
        keepalive_s: A client that was silent for so long is probed, three times at most; one that is gone
            without a word is then forgotten.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    token: Annotated[str, msgspec.Meta(min_length=1)] | None = None
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

    def prepare(self, sock: socket.socket) -> None:
        """Have a connection send at once, and notice when its client vanished: no byte would tell."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # macOS calls it otherwise
        idle = getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE  # type: ignore[attr-defined]
        sock.setsockopt(socket.IPPROTO_TCP, idle, self.keepalive_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, self.keepalive_s // PROBES))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)

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
        mode: Who may connect, as the file's permissions: its owner alone, unless told.
    """

    path: str
    mode: unix.Mode = unix.OWNER

    async def listen(self, factory: Factory) -> asyncio.Server:
        """Make the socket file.

        Raises:
            TransportError: The path cannot be listened on.
        """
        unix.claim(self.path, socket.SOCK_STREAM)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.bind(sock, self.path, self.mode)
            return await asyncio.get_running_loop().create_unix_server(factory, sock=sock)
        except OSError as error:
            sock.close()
            raise _refused(f"unix {self.path}", error) from None

    def prepare(self, sock: socket.socket) -> None:
        """Nothing is to be done for a client's connection."""

    def close(self) -> None:
        """Remove the socket file."""
        unix.release(self.path)

    def key(self, _peer: Any, number: int) -> str:  # noqa: ANN401 - as above
        """Stream key of a client, which has no address: the number of its connection."""
        return f"unix:{number}"


def _refused(name: str, error: OSError) -> TransportError:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return TransportError(f"{name}: cannot listen: {reason}")
