"""Messages that nobody sends again, written down before they are stepped: segments of checked records.

A record is a length, a CRC-32 and its bytes. What a process wrote survives its end; what was synced survives
a power cut. Numbers count messages; a segment is named after its first.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import msgspec

from stream_rnn.errors import StateError

MAGIC = b"srnj\x01\0\0\0"
HEAD = struct.Struct("<II")
DIGITS = 20  # of a segment's number in its name: names sort as numbers do

Entry: TypeAlias = tuple[str, str, int, bytes]
"""Stream key that the transport knows, topic, epoch nanoseconds of arrival, payload."""


class Read(msgspec.Struct, array_like=True, frozen=True):
    """What one read of a way in brought.

    Attributes:
        first: Number of the first message.
        wire: Their encoding.
        passing: Whether their streams end with their connection, where a payload names none.
        entries: The messages.
    """

    first: int
    wire: str
    passing: bool
    entries: list[Entry]


class Journal:
    """Segments beside a store; nothing is opened before `begin`.

    Args:
        path: The store's file; segments are `<path>-journal-<number>`.

    Attributes:
        position: Number of the next message.
        size: Bytes in the segment that is written now.
        torn: Segments whose end was not whole when they were read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.position = self.size = self.torn = 0
        self._fd: int | None = None
        self._dirty: list[int] = []  # descriptors with bytes that are not synced
        self._old: set[int] = set()  # of these, those to be closed then
        self._more = True  # whether there may be segments beside the one that is written now
        self._encoder = msgspec.msgpack.Encoder()

    @property
    def broken(self) -> bool:
        """Whether nothing can be appended until the next `begin`."""
        return self._fd is None

    def read(self) -> Iterator[Read]:
        """What was written and not removed, in order; a segment whose end is torn, up to there.

        Raises:
            StateError: A segment cannot be read.
        """
        for segment in self._segments():
            try:
                data = segment.read_bytes()
            except OSError as error:
                raise StateError(f"journal {segment}: {os.strerror(error.errno or 0)}") from None
            for read in _records(data):
                if read is None:
                    self.torn += 1
                    break
                self.position = max(self.position, read.first + len(read.entries))
                yield read

    def begin(self) -> None:
        """Write to a new segment from now on.

        Raises:
            StateError: The disk does not take it.
        """
        self._leave()
        name = self._segment(self.position)
        try:
            # two segments may have one first number: nothing was appended to the earlier one, or only torn
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(fd, MAGIC)
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise StateError(f"journal {name}: {os.strerror(error.errno or 0)}") from None
        self._fd, self.size, self._more = fd, 0, True
        self._dirty.append(fd)

    def append(self, wire: str, entries: Sequence[Entry], *, passing: bool) -> None:
        """Write messages that came together; from now on they survive the end of this process.

        Raises:
            StateError: The disk does not take them; this segment ends here.
        """
        fd = self._fd
        if fd is None:
            raise StateError(f"journal {self._path}: not written since the disk refused it")
        body = self._encoder.encode((self.position, wire, passing, entries))
        record = HEAD.pack(len(body), zlib.crc32(body)) + body
        try:
            written = os.write(fd, record)
        except OSError as error:
            self._leave()
            raise StateError(f"journal {self._path}: {os.strerror(error.errno or 0)}") from None
        if written != len(record):
            self._leave()
            raise StateError(f"journal {self._path}: expected room for {len(record)} bytes, got {written}")
        self.position += len(entries)
        self.size += written
        if not self._dirty or self._dirty[-1] != fd:
            self._dirty.append(fd)

    def due(self) -> Callable[[], None] | None:
        """What syncs all that was appended so far, to be called on any thread; None where all is synced."""
        if not self._dirty:
            return None
        dirty, self._dirty = self._dirty, []
        old = [fd for fd in dirty if fd in self._old]
        self._old.difference_update(old)
        folder = self._path.parent

        def sync() -> None:
            try:
                for fd in dirty:
                    os.fsync(fd)
                _sync_folder(folder)
            except OSError as error:
                raise StateError(f"journal {self._path}: {os.strerror(error.errno or 0)}") from None
            finally:
                for fd in old:
                    os.close(fd)

        return sync

    def remove_before(self, mark: int) -> None:
        """Remove the segments whose every message lies before this number."""
        if not self._more:
            return
        segments = self._segments()
        done = [old for old, following in pairwise(segments) if int(following.name[-DIGITS:]) <= mark]
        for segment in done:
            segment.unlink(missing_ok=True)
        self._more = len(segments) - len(done) > 1

    def close(self) -> None:
        """Let go of the files; what was appended stays."""
        self._leave()
        for fd in self._old:
            os.close(fd)
        self._old.clear()
        self._dirty.clear()

    def remove(self) -> None:
        """Close, and remove every segment: a checkpoint contains all of it."""
        self.close()
        for segment in self._segments():
            segment.unlink(missing_ok=True)

    def _leave(self) -> None:
        """Append nothing more to this segment."""
        if self._fd is not None:
            if self._fd not in self._dirty:
                self._dirty.append(self._fd)
            self._old.add(self._fd)
            self._fd = None

    def _segment(self, first: int) -> Path:
        return self._path.with_name(f"{self._path.name}-journal-{first:0{DIGITS}d}")

    def _segments(self) -> list[Path]:
        return sorted(self._path.parent.glob(f"{self._path.name}-journal-" + "[0-9]" * DIGITS))


def _records(data: bytes) -> Iterator[Read | None]:
    """The records of a segment; None where it is not whole, and nothing after that."""
    at = len(MAGIC)
    if data[:at] != MAGIC:
        yield None
        return
    while at < len(data):
        body = b""
        if at + HEAD.size <= len(data):
            length, crc = HEAD.unpack_from(data, at)
            at += HEAD.size
            body = data[at : at + length]
        if not body or len(body) < length or zlib.crc32(body) != crc:
            yield None
            return
        try:
            yield msgspec.msgpack.decode(body, type=Read)
        except (msgspec.DecodeError, UnicodeDecodeError):  # whole, and none of ours
            yield None
            return
        at += length


def _sync_folder(folder: Path) -> None:
    """Make names durable: a new file's bytes are lost with its name."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
