"""Unix socket files: whose they are; one that nobody listens on is taken over, another never."""

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from stream_rnn.errors import TransportError

MAX_BYTES = 107  # sockaddr_un holds 108 with the NUL at the end

Mode: TypeAlias = Annotated[str, msgspec.Meta(pattern="^0?[0-7]{3}$")]
"""Permissions of a file, as chmod takes them."""
OWNER = "0600"


def claim(path: str, kind: socket.SocketKind) -> None:
    """Make way for a socket at a path: a stale file is removed.

    Args:
        path: Socket file.
        kind: SOCK_STREAM or SOCK_DGRAM, as the one that shall be bound.

    Raises:
        TransportError: Somebody listens there, something else is there, or the path is too long for a socket.
    """
    if len(os.fsencode(path)) > MAX_BYTES:
        raise TransportError(f"unix {path}: expected a path of at most {MAX_BYTES} bytes, got a longer one")
    file = Path(path)
    if not os.access(path, os.F_OK):  # nothing there, or nothing that may be looked at: binding will tell
        return
    if not file.is_socket():
        raise TransportError(f"unix {path}: expected a socket or nothing there, got another file")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            # EPROTOTYPE: a socket of the other kind, which only a living process holds
            if error.errno != errno.ECONNREFUSED:
                raise TransportError(f"unix {path}: cannot listen: {os.strerror(error.errno or 0)}") from None
        else:
            raise TransportError(f"unix {path}: cannot listen: {os.strerror(errno.EADDRINUSE)}")
    release(path)


def release(path: str) -> None:
    """Remove a socket file, if it still is there."""
    with contextlib.suppress(OSError):
        Path(path).unlink()


def bind(sock: socket.socket, path: str, mode: str) -> None:
    """Make a socket file with these permissions, whatever the umask; at no instant with wider ones.

    Raises:
        OSError: The path cannot be bound.
    """
    before = os.umask(0o777 & ~int(mode, 8))
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    Path(path).chmod(int(mode, 8))  # a system may make sockets with fewer than were asked for
