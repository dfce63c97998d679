"""Unix socket files: taking over one that nobody listens on, never one that somebody does."""

import contextlib
import errno
import os
import socket
from pathlib import Path

from stream_rnn.errors import TransportError

MAX_BYTES = 107  # sockaddr_un holds 108 with the NUL at the end


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
