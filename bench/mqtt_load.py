"""A lean source of MQTT messages for `bench_mqtt`: packets written beforehand, answers only counted."""

import ctypes
import select
import socket
import time
from typing import Literal

from stream_rnn.transports.mqtt_packets import Writer

WRITER = Writer(new=False)
RING = 1000  # packets written beforehand: with qos 1, numbers 1 to 1000
READ = 1 << 18
PR_SET_TIMERSLACK = 29


class Load:
    """One connection that publishes on a topic, and counts what comes back on another.

    Args:
        port: The broker's.
        comes: Where to publish.
        goes: Where the answers are.
        qos: Of what is published; the answers come with qos 0, so that they are cheap to take.
        payload: What is published.
    """

    def __init__(self, port: int, comes: str, goes: str, qos: Literal[0, 1], payload: bytes) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.settimeout(10)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        topic = WRITER.topic(comes)
        assert topic is not None
        packets = [WRITER.publish(topic, payload, number=(i + 1) * qos) for i in range(RING)]
        self._size = len(packets[0])
        self._ring = memoryview(b"".join(packets * 2))
        self._next = 0
        self._marker = goes.encode()
        self._tail = b""
        self._sock.sendall(WRITER.connect(client_id="", clean=True, keepalive_s=600))
        self._sock.sendall(WRITER.subscribe(1, goes, 0))
        got = b""
        while len(got) < 9:  # CONNACK and SUBACK
            got += self._sock.recv(100)

    def close(self) -> None:
        """End."""
        self._sock.close()

    def send(self, count: int) -> None:
        """Publish so many, at most RING."""
        at = self._next * self._size
        self._sock.sendall(self._ring[at : at + count * self._size])
        self._next = (self._next + count) % RING

    def take(self) -> int:
        """Wait for bytes; say how many answers they hold."""
        data = self._tail + self._sock.recv(READ)
        self._tail = data[1 - len(self._marker) :]
        return data.count(self._marker)

    def saturate(self, window: int, seconds: float) -> tuple[int, float]:
        """Keep `window` messages under way; give the number of answers, and how many a second."""
        self.send(window)
        began = time.monotonic()
        count = 0
        while (now := time.monotonic()) < began + seconds:
            answered = self.take()
            count += answered
            if answered:
                self.send(answered)
        per_s = count / (now - began)
        missing = window
        while missing:  # a client that lost one runs into the timeout
            missing -= self.take()
        return count + window, per_s

    def at_rate(self, rate_hz: float, count: int) -> list[float]:
        """Publish in time; give microseconds from the time a message was due to its answer."""
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        period = 1e9 / rate_hz
        began = time.monotonic_ns() + 1_000_000
        sent, latencies = 0, list[float]()
        while len(latencies) < count:
            now = time.monotonic_ns()
            if sent < count and now >= began + sent * period:
                self.send(1)
                sent += 1
                continue
            wait_ns = began + sent * period - now if sent < count else 1e9
            if select.select([self._sock], [], [], wait_ns / 1e9)[0]:
                answered = self.take()
                now = time.monotonic_ns()
                first = len(latencies)
                latencies += [(now - began - i * period) / 1000 for i in range(first, first + answered)]
        return latencies
