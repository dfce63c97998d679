"""Sends samples of many streams, as fast as they are answered or at a rate of its own.

    python -m bench.flood KIND PORT RATE SECONDS STREAMS

RATE 0 keeps WINDOW samples under way. Packets are written beforehand; their numbers and times change. Writes
what was sent as JSON.
"""

import contextlib
import select
import socket
import struct
import sys
import time
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.networks import INPUTS, samples
from stream_rnn.sample import Sample
from stream_rnn.transports.cut import LENGTH
from stream_rnn.transports.mqtt_packets import DISCONNECT, Writer
from stream_rnn.wire.frame import SEQ_AT, T_NS_AT, FrameCodec

Kind: TypeAlias = Literal["tcp", "udp", "mqtt"]
WINDOW = {"tcp": 400, "udp": 64, "mqtt": 400}
TOGETHER = 64  # packets a send; datagrams that one call cuts
SOL_UDP, UDP_SEGMENT = 17, 103
READ = 1 << 18
TICK_S = 0.001
DRAIN_S, PATIENCE_S = 2.0, 60.0
WRITER = Writer(new=False)


class Sent(msgspec.Struct):
    """What was meant to be sent, what left, what was answered (where answers were looked at), in how long.

    `drained_s` is what it took after that until the other side had read all of it.
    """

    due: int
    sent: int
    answered: int
    seconds: float
    drained_s: float


class Packets:
    """A ring of packets of one size; every sample has its stream's next number and the time it leaves at.

    Args:
        kind: Over what.
        streams: Number of streams, which take turns.
    """

    def __init__(self, kind: Kind, streams: int) -> None:
        xs, codec = samples(streams, INPUTS), FrameCodec()
        made = [self._packet(kind, codec, f"device-{s:04d}", xs[s]) for s in range(streams)]
        self.size = len(made[0][0])
        behind = self.size - made[0][1]  # where the frame begins
        ring = np.frombuffer(b"".join(packet for packet, _ in made), dtype=np.uint8)
        self._ring: NDArray[np.uint8] = np.tile(
            ring.reshape(streams, self.size), (1 + TOGETHER // streams, 1)
        )
        self._seq = self._ring[:, behind + SEQ_AT : behind + SEQ_AT + 8]
        self._t_ns = self._ring[:, behind + T_NS_AT : behind + T_NS_AT + 8]
        self._streams, self.count = streams, 0

    @staticmethod
    def _packet(kind: Kind, codec: FrameCodec, stream: str, x: NDArray[np.float32]) -> tuple[bytes, int]:
        payload = codec.encode_sample(Sample("" if kind == "mqtt" else stream, 0, 0, x))
        if kind == "mqtt":
            topic = WRITER.topic(f"sensors/{stream}/samples")
            assert topic is not None
            return WRITER.publish(topic, payload), len(payload)
        return (LENGTH.pack(len(payload)) if kind == "tcp" else b"") + payload, len(payload)

    def take(self, most: int) -> tuple[bytes, int]:
        """The next packets, as bytes, and their number: up to so many."""
        at = self.count % len(self._ring)
        count = min(most, TOGETHER, len(self._ring) - at)
        rows = slice(at, at + count)
        numbers = (self.count + np.arange(count, dtype=np.int64)) // self._streams
        self._seq[rows] = numbers.view(np.uint8).reshape(-1, 8)
        self._t_ns[rows] = np.frombuffer(struct.pack("<q", time.time_ns()), dtype=np.uint8)
        self.count += count
        return self._ring[rows].tobytes(), count


class Stream:
    """TCP, or MQTT over it."""

    def __init__(self, kind: Kind, port: int, *, listen: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kind, self._rest, self._tail, self._size = kind, memoryview(b""), b"", 0
        if kind == "mqtt":
            self.socket.sendall(WRITER.connect(client_id="", clean=True, keepalive_s=600))
            if listen:
                self.socket.sendall(WRITER.subscribe(1, "stream_rnn/decoder/predictions/#", 0))
            self.socket.recv(9 if listen else 4, socket.MSG_WAITALL)
        self.socket.setblocking(False)  # noqa: FBT003  # the standard library's

    def send(self, packets: bytes) -> bool:
        """Send as much as it takes; False while something of it is still to be sent."""
        rest = memoryview(packets) if packets else self._rest
        with contextlib.suppress(BlockingIOError):
            while rest:
                rest = rest[self.socket.send(rest) :]
        self._rest = rest
        return not rest

    def answers(self) -> int:
        """Read what is there: number of answers."""
        found = 0
        with contextlib.suppress(BlockingIOError):
            while data := self.socket.recv(READ):
                found += self._count(data)
        return found

    def end(self) -> None:
        """Wait until the other side has read everything: a close over unread answers would reset it."""
        if self._kind == "mqtt":
            self.socket.send(DISCONNECT)
        else:
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(READ):
                pass

    def _count(self, data: bytes) -> int:
        if self._kind == "mqtt":
            marker = b"/predictions/"
            data = self._tail + data
            self._tail = data[1 - len(marker) :]
            return data.count(marker)
        data = self._tail + data
        if not self._size:
            self._size = LENGTH.size + LENGTH.unpack_from(data)[0]
        whole, rest = divmod(len(data), self._size)
        self._tail = data[len(data) - rest :] if rest else b""
        return whole


class Datagrams:
    """UDP; the kernel cuts many from one call."""

    def __init__(self, port: int, size: int) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(SOL_UDP, UDP_SEGMENT, size)

    def send(self, packets: bytes) -> bool:
        """Send all at once."""
        self.socket.send(packets)
        return True

    def answers(self) -> int:
        """Read what is there: number of answers."""
        found = 0
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(2048, socket.MSG_DONTWAIT):
                found += 1
        return found

    def end(self) -> None:
        """See `Stream`: what was sent lies with the other side already."""


def flood(kind: Kind, port: int, rate_hz: float, seconds: float, streams: int) -> Sent:
    """Send for so long."""
    packets = Packets(kind, streams)
    listen = rate_hz == 0
    way: Stream | Datagrams
    way = Datagrams(port, packets.size) if kind == "udp" else Stream(kind, port, listen=listen)
    with way.socket:
        # of each stream one at most: `latest` keeps no more
        return _flood(way, packets, rate_hz, seconds, min(WINDOW[kind], streams))


def _flood(way: Stream | Datagrams, packets: Packets, rate_hz: float, seconds: float, window: int) -> Sent:
    began = now = time.monotonic()
    answered, free = 0, True
    while now < began + seconds:
        due = answered + window if rate_hz == 0 else int((now - began) * rate_hz)
        if not free:
            free = way.send(b"")
        while free and packets.count < due:
            free = way.send(packets.take(due - packets.count)[0])
        new = way.answers()
        answered += new
        if not new:
            select.select([way.socket], [], [], TICK_S)
        now = time.monotonic()
    while not free:  # what was begun is sent whole
        way.answers()
        free = way.send(b"")
    ended = time.monotonic()
    while rate_hz == 0 and answered < packets.count and time.monotonic() < ended + DRAIN_S:
        answered += way.answers()
    way.end()
    due = packets.count if rate_hz == 0 else int(rate_hz * seconds)
    return Sent(due, packets.count, answered, ended - began, time.monotonic() - ended)


if __name__ == "__main__":
    _, name, port, rate, lasts, count = sys.argv
    assert name in get_args(Kind)
    found = flood(msgspec.convert(name, Kind), int(port), float(rate), float(lasts), int(count))
    sys.stdout.buffer.write(msgspec.json.encode(found))
