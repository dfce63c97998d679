"""A client of a daemon over TCP, JSON lines."""

import json
import socket
import time
from typing import Any, Self

import numpy as np

from stream_rnn.sample import F32


class Client:
    """One connection, which is one stream.

    Args:
        port: The daemon's.
        timeout_s: How long an answer may take.
    """

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self.socket.close()

    def send(self, x: F32, **fields: Any) -> None:
        """Send one sample."""
        self.socket.sendall(json.dumps({"x": np.asarray(x).tolist(), **fields}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def ask(self, x: F32, **fields: Any) -> dict[str, Any]:
        """The answer to one sample."""
        self.send(x, **fields)
        return self.answer()


def connected(port: int, seconds: float = 60.0) -> Client:
    """A client, as soon as somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return Client(port)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {port} within {seconds} s"
