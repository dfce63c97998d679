"""Samples sent when they are due, answers taken when they come: latency from the *intended* send time.

One thread sends and receives, so that neither waits for the other; answers come in the order of the samples.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from bench.timing import Times
from stream_rnn.sample import F32, Sample
from stream_rnn.transports.cut import LENGTH
from stream_rnn.wire.f32 import F32Codec
from stream_rnn.wire.frame import FrameCodec

LOST_S = 2.0
PUBLISH, KIND_BITS = 0x30, 0xF0
TOPIC, ANSWERS = "sensors/{stream}/samples", "stream_rnn/decoder/predictions/{stream}"


class Link(Protocol):
    """A connection to what answers samples."""

    socket: socket.socket

    def send(self, seq: int, x: F32) -> None:
        """Send one sample."""

    def receive(self) -> int:
        """Read what is there: number of answers."""


def latencies_us(link: Link, x: F32, rate_hz: float, count: int) -> Times:
    """Microseconds from the instant each sample was due to its answer.

    Raises:
        AssertionError: Answers are missing.
    """
    found = np.empty(count)
    period, sent, answered = int(1e9 / rate_hz), 0, 0
    start = time.perf_counter_ns() + period
    while answered < count:
        wait = start + sent * period - time.perf_counter_ns()
        if sent < count and wait <= 0:
            link.send(sent, x)
            sent += 1
            continue
        readable, _, _ = select.select([link.socket], [], [], wait / 1e9 if sent < count else LOST_S)
        if readable:
            new, now = link.receive(), time.perf_counter_ns()
            for _ in range(new):
                found[answered] = (now - start - answered * period) / 1000
                answered += 1
        else:
            assert sent < count, f"{count} samples sent, expected as many answers, got {answered}"
    return found


class StreamLink:
    """Frames over a stream socket, each behind its length."""

    def __init__(self, connected: socket.socket, key: str) -> None:
        self.socket, self.key = connected, key
        self._codec = FrameCodec()
        self._buffer = bytearray()

    def send(self, seq: int, x: F32) -> None:
        """See `Link`."""
        payload = self._codec.encode_sample(Sample(self.key, seq, None, x))
        self.socket.sendall(LENGTH.pack(len(payload)) + payload)

    def receive(self) -> int:
        """See `Link`."""
        self._buffer += self.socket.recv(1 << 16)
        count = 0
        while len(self._buffer) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer)
            if len(self._buffer) < LENGTH.size + size:
                break
            self.answered(bytes(self._buffer[LENGTH.size : LENGTH.size + size]))
            del self._buffer[: LENGTH.size + size]
            count += 1
        return count

    def answered(self, payload: bytes) -> None:
        """One answer came: whoever wants to read it overrides this."""


class DatagramLink:
    """Raw float32, a datagram each."""

    def __init__(self, connected: socket.socket, key: str) -> None:
        self.socket, self._key = connected, key
        self._codec = F32Codec()

    def send(self, seq: int, x: F32) -> None:
        """See `Link`."""
        self.socket.send(self._codec.encode_sample(Sample(self._key, seq, None, x)))

    def receive(self) -> int:
        """See `Link`."""
        return len(self.socket.recv(1 << 16)) > 0


class MqttLink:
    """MQTT 3.1.1, QoS 0, as little of it as a load generator needs: it must not be what is measured."""

    def __init__(self, connected: socket.socket, key: str) -> None:
        self.socket, self._key = connected, key
        self._codec = FrameCodec()
        self._topic = _text(TOPIC.format(stream=key))
        self._buffer = bytearray()
        connected.sendall(_packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + _text(key)))
        assert connected.recv(4)[3:] == b"\0", "the broker refused the connection"
        connected.sendall(_packet(0x82, b"\x00\x01" + _text(ANSWERS.format(stream=key)) + b"\x00"))
        assert connected.recv(5)[4:] == b"\0", "the broker refused the subscription"

    def send(self, seq: int, x: F32) -> None:
        """See `Link`."""
        payload = self._codec.encode_sample(Sample(self._key, seq, None, x))
        self.socket.sendall(_packet(PUBLISH, self._topic + payload))

    def receive(self) -> int:
        """See `Link`."""
        self._buffer += self.socket.recv(1 << 16)
        return sum(kind & KIND_BITS == PUBLISH for kind in self._packets())

    def _packets(self) -> Iterator[int]:
        while len(self._buffer) > 1:
            size, at = 0, 1
            while at < len(self._buffer):
                size |= (self._buffer[at] & 0x7F) << (7 * (at - 1))
                at += 1
                if self._buffer[at - 1] < 0x80:
                    break
            if len(self._buffer) < at + size:
                return
            kind = self._buffer[0]
            del self._buffer[: at + size]
            yield kind


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([kind]) + length + bytes([size]) + body


def without_delay(connected: socket.socket) -> socket.socket:
    """Send small packets at once."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def tcp(port: int, key: str) -> Link:
    """Frames over TCP."""
    return StreamLink(without_delay(socket.create_connection(("127.0.0.1", port))), key)


def unix(path: Path, key: str) -> StreamLink:
    """Frames over a Unix socket."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path))
    return StreamLink(made, key)


def udp(port: int, key: str) -> Link:
    """Raw float32 over UDP."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", port))
    return DatagramLink(made, key)


def mqtt(port: int, key: str) -> Link:
    """Frames over MQTT."""
    return MqttLink(without_delay(socket.create_connection(("127.0.0.1", port))), key)


Opener = Callable[[str], Link]
"""Opens a link for a stream of this key."""
