"""Bytes to whole lines or whole frames, wherever the bytes are cut. No I/O: feed it bytes, take payloads.

Laws: any cutting of the same bytes gives the same payloads in the same order, then the same error or none.
A payload over the limit is refused before it is collected. After an error the cutter repeats it.
"""

import struct
from collections.abc import Iterator
from typing import Literal, Protocol, TypeAlias

from stream_rnn.errors import WireError

Framing: TypeAlias = Literal["lines", "frames"]

LENGTH = struct.Struct("<I")  # of the body that follows


class Cutter(Protocol):
    """What cuts a byte stream into payloads."""

    @property
    def pending(self) -> int:
        """Bytes of a payload that is not whole yet."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every payload that these bytes complete. Exhaust it before the next feed.

        Raises:
            WireError: A payload is over the limit; the payloads before it were yielded.
        """

    @staticmethod
    def join(payloads: list[bytes]) -> bytes:
        """Give the bytes that a cutter of this kind cuts into these payloads."""


class LineCutter:
    r"""Cuts at `\n`; a `\r` before it is taken off and empty lines are skipped.

    >>> list(LineCutter(max_bytes=99).feed(b"[1, 2]\n[3, "))
    [b'[1, 2]']
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every line that these bytes end, without its end.

        Raises:
            WireError: A line is longer than `max_bytes`.
        """
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._refuse_beyond(len(self._buffer) + end - start)
            line = bytes(self._buffer) + data[start:end] if self._buffer else data[start:end]
            self._buffer.clear()
            start = end + 1
            if line := line.removesuffix(b"\r"):
                yield line
        self._refuse_beyond(len(self._buffer) + len(data) - start)
        self._buffer += data[start:]

    def _refuse_beyond(self, size: int) -> None:
        if size > self._max_bytes:
            # Kept one byte too long, so that whatever is fed next is refused again.
            self._buffer[:] = bytes(self._max_bytes + 1)
            raise WireError("size", f"line: expected at most {self._max_bytes} bytes, got more")

    @staticmethod
    def join(payloads: list[bytes]) -> bytes:
        """End each line."""
        return b"\n".join([*payloads, b""])


class FrameCutter:
    r"""Cuts frames: the length of the body, unsigned 32 bits, little-endian; then the body.

    >>> list(FrameCutter(max_bytes=99).feed(b"\x02\0\0\0hi\x05\0"))
    [b'hi']
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[
            bytes
        ] = []  # joined only when a body is whole: small reads of a big body stay cheap
        self._size = 0
        self._wanted = LENGTH.size

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return self._size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the body of every frame that these bytes complete.

        Raises:
            WireError: A frame announces a body longer than `max_bytes`.
        """
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        start, size, head, unpack = 0, len(buffer), LENGTH.size, LENGTH.unpack_from
        wanted = head
        try:
            while start + head <= size:
                (length,) = unpack(buffer, start)
                if length > self._max_bytes:
                    raise WireError("size", f"frame: expected at most {self._max_bytes} bytes, got {length}")
                end = start + head + length
                if end > size:
                    wanted = end - start
                    break
                body, start = buffer[start + head : end], end
                yield body
        finally:
            self._wanted = wanted
            self._parts = [buffer[start:]] if start < size else []
            self._size = size - start

    @staticmethod
    def join(payloads: list[bytes]) -> bytes:
        """Put its length before each body."""
        return b"".join([part for body in payloads for part in (LENGTH.pack(len(body)), body)])


CUTTERS: dict[Framing, type[LineCutter | FrameCutter]] = {"lines": LineCutter, "frames": FrameCutter}
