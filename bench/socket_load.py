"""A lean client for `bench_sockets`: payloads written beforehand, answers only counted."""

import socket
import time

from stream_rnn.transports.cut import CUTTERS

READ = 1 << 18
POLL_S = 0.0003
RING = 512  # frames written beforehand


class TcpLoad:
    """One connection; answers to one length of payload have one length too."""

    def __init__(self, port: int, payload: bytes) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ring = memoryview(CUTTERS["frames"].join([payload] * RING))
        self._size = len(self._ring) // RING
        self._send(1)
        self._answer_size = len(self._sock.recv(READ))

    def close(self) -> None:
        """End."""
        self._sock.close()

    def _send(self, count: int) -> None:
        while count > 0:
            some = min(count, RING)
            self._sock.sendall(self._ring[: some * self._size])
            count -= some

    def saturate(self, window: int, seconds: float) -> tuple[int, float]:
        """Keep `window` payloads under way; give the number of answers, and how many a second."""
        self._send(window)
        began = now = time.monotonic()
        count = rest = 0
        while now < began + seconds:
            answered, rest = divmod(rest + len(self._sock.recv(READ)), self._answer_size)
            count += answered
            self._send(answered)
            now = time.monotonic()
        missing = window * self._answer_size - rest
        while missing:
            missing -= len(self._sock.recv(READ))
        return count + window, count / (now - began)


class UdpLoad:
    """One socket. It polls: waking it for each answer would cost the server more than the answer."""

    def __init__(self, port: int, payload: bytes) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect(("127.0.0.1", port))
        self._sock.setblocking(False)  # noqa: FBT003  # the standard library's
        self._payload = payload

    def close(self) -> None:
        """End."""
        self._sock.close()

    def saturate(self, window: int, seconds: float) -> tuple[int, float]:
        """Keep up to `window` datagrams under way; give the number of answers, and how many a second."""
        began = now = time.monotonic()
        count = 0
        while now < began + seconds:
            for _ in range(window):
                self._sock.send(self._payload)
            self._take(window)
            count += window
            now = time.monotonic()
        return count, count / (now - began)

    def _take(self, count: int) -> None:
        receive, patience = self._sock.recv, 10 / POLL_S
        while count:
            try:
                receive(2048)
            except BlockingIOError:
                patience -= 1
                if patience < 0:
                    raise TimeoutError(f"{count} answers are missing") from None
                time.sleep(POLL_S)
            else:
                count -= 1
