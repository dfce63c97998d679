"""Live streams as MCAP files: samples, predictions, events and session states, with receive and source times.

JSON with schemas, so that Foxglove and the `mcap` tools read them. Appended chunk by chunk: after a crash
everything up to the last flushed chunk is there.
"""

import base64
import binascii
import contextlib
import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias, get_args

import msgspec
from mcap.exceptions import McapError
from mcap.records import Attachment, Channel, Chunk, Message, Metadata
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import Writer
from zstandard import ZstdDecompressor, ZstdError

from stream_rnn.errors import RecordingError

Kind: TypeAlias = Literal["samples", "predictions", "events", "states"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MODEL_NAME = "model.safetensors"
METADATA_NAME = "stream_rnn"
MOST_CHANNELS = 65535
EXPANDED_AT_ONCE = 1 << 20
MOST_EXPANDED = 1 << 30  # bytes of a chunk: what is noted between two writes is far less
WHOLE_CHUNK = 1 << 40  # bytes; chunks end when they are flushed, not by their size

_TIME = {"type": "integer", "description": "epoch nanoseconds"}
_NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
SCHEMAS: dict[Kind, dict[str, object]] = {
    "samples": {"x": _NUMBERS, "seq": {"type": ["integer", "null"]}, "t_ns": {"type": ["integer", "null"]}},
    "predictions": {
        "y": _NUMBERS,
        "y_low": _NUMBERS,
        "y_high": _NUMBERS,
        "seq": {"type": "integer"},
        "flags": {"type": "array", "items": {"type": "string"}},
        "missed": {"type": "integer"},
        "t_received_ns": _TIME,
        "t_stepped_ns": _TIME,
        "t_published_ns": _TIME,
    },
    "events": {"kind": {"type": "string"}, "detail": {"type": "string"}, "t_ns": _TIME},
    "states": {
        "seq": {"type": "integer"},
        "state": {"type": "string", "contentEncoding": "base64"},
        "start": {"type": "boolean"},
    },
}


# What the library and what it stands on raise on torn or damaged bytes.
DAMAGED = (McapError, ZstdError, struct.error, ValueError, EOFError, LookupError, MemoryError, OverflowError)


class Entry(NamedTuple):
    """One recorded message.

    Attributes:
        kind: What it is.
        stream: Key of its stream; empty for events.
        t_log_ns: When it was received or made here, epoch nanoseconds.
        t_source_ns: Its own time, or the same.
        seq: Its number; 0 where it has none.
        payload: JSON.
    """

    kind: Kind
    stream: str
    t_log_ns: int
    t_source_ns: int
    seq: int
    payload: bytes


class StateFields(msgspec.Struct):
    """A session's state in a recording.

    Attributes:
        seq: Number of the sample it follows.
        state: The session's bytes, base64.
        start: The stream goes on from this state, whatever it did before: at its first sample in this
            recording, after a reset or a restore by command.
    """

    seq: int
    state: str
    start: bool = False

    @classmethod
    def of(cls, seq: int, state: bytes, *, start: bool = False) -> "StateFields":
        """From the session's bytes."""
        return cls(seq, base64.b64encode(state).decode(), start)

    def bytes(self) -> bytes:
        """The session's bytes.

        Raises:
            RecordingError: It is no base64.
        """
        try:
            return base64.b64decode(self.state)
        except (binascii.Error, ValueError):
            raise RecordingError("recording: expected a state in base64, got other text") from None


class McapWriter:
    """A recording under way.

    Args:
        stream: A file opened for writing.
        header: What made it: model hash, versions, CPU, config, as text.
        model: The model file's bytes, kept in the recording so that it can prove itself; None for none.
    """

    def __init__(self, stream: BinaryIO, header: dict[str, str], model: bytes | None) -> None:
        self._stream = stream
        self._writer = Writer(stream, chunk_size=WHOLE_CHUNK)
        self._writer.start("", "stream-rnn")
        self._writer.add_metadata(METADATA_NAME, header)
        if model is not None:
            self._writer.add_attachment(0, 0, MODEL_NAME, "application/octet-stream", model)
        self._schemas = {
            kind: self._writer.register_schema(f"stream_rnn.{kind}", "jsonschema", _schema(kind))
            for kind in KINDS
        }
        self._channels: dict[tuple[Kind, str], int] = {}
        self._stream.flush()

    def write(self, entries: list[Entry]) -> int:
        """Append entries as one chunk and hand it to the operating system; give the number of those left out.

        MCAP numbers its channels in 16 bits: entries of more streams than that have no place in it.
        """
        left_out = 0
        for entry in entries:
            channel = self._channel(entry.kind, entry.stream)
            if channel is None:
                left_out += 1
                continue
            self._writer.add_message(
                channel_id=channel,
                log_time=entry.t_log_ns,
                data=entry.payload,
                publish_time=entry.t_source_ns,
                sequence=entry.seq & 0xFFFFFFFF,
            )
        # The library ends a chunk by its size only; a time limit needs its own private end of one.
        self._writer._Writer__finalize_chunk()  # type: ignore[attr-defined]  # noqa: SLF001
        self._stream.flush()
        return left_out

    def close(self) -> None:
        """Write the index and close the file."""
        self._writer.finish()  # type: ignore[no-untyped-call]  # the library forgot
        self._stream.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(OSError):  # a full disk may refuse even that
            self._stream.close()

    def _channel(self, kind: Kind, stream: str) -> int | None:
        channel = self._channels.get((kind, stream))
        if channel is None and len(self._channels) < MOST_CHANNELS:
            topic = f"{kind}/{stream}" if stream else kind
            metadata = {"stream": stream, "kind": kind}
            channel = self._writer.register_channel(topic, "json", self._schemas[kind], metadata)
            self._channels[kind, stream] = channel
        return channel


def _schema(kind: Kind) -> bytes:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    return msgspec.json.encode(schema | {"title": kind, "properties": SCHEMAS[kind]})


class Limited:
    """A file that gives no room to more bytes than it holds, whatever a length in it says.

    Args:
        file: Opened for reading.
        size: Its bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            EOFError: There are not so many.
        """
        if not 0 <= size <= self._left:
            raise EOFError(f"expected {size} more bytes, got {self._left}")
        self._left -= size
        return self._file.read(size)


def expanded(chunk: Chunk) -> Chunk:
    """A chunk that is not compressed: expanded bit by bit, so that a length that is not true costs nothing.

    Raises:
        ValueError: It is larger than it says, or than any may be.
    """
    if chunk.compression != "zstd":
        return chunk
    parts, size = [], 0
    with ZstdDecompressor().stream_reader(chunk.data) as reader:
        while part := reader.read(EXPANDED_AT_ONCE):
            parts.append(part)
            size += len(part)
            if size > min(chunk.uncompressed_size, MOST_EXPANDED):
                raise ValueError(f"chunk: expected {chunk.uncompressed_size} bytes, got more")
    return dataclasses.replace(chunk, compression="", data=b"".join(parts))


class McapRecording:
    """A recording that is read from its beginning, as far as it goes.

    Attributes:
        header: What made it.
        model: The model file's bytes, or None.
        whole: Whether it was closed properly; known once `entries` has been exhausted.

    Raises:
        RecordingError: The file is absent or no recording of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, str] = {}
        self.model: bytes | None = None
        self.whole = False
        for record in self._records():
            if isinstance(record, Metadata) and record.name == METADATA_NAME:
                self.header = record.metadata
            elif isinstance(record, Attachment) and record.name == MODEL_NAME:
                self.model = record.data
            elif isinstance(record, Message):
                break
        if not self.header:
            raise RecordingError(
                f"recording {path}: expected an MCAP file of stream-rnn, got none of its header"
            )

    def entries(self) -> Iterator[Entry]:
        """Every message in the order it was recorded; a torn end is left out."""
        channels: dict[int, Channel] = {}
        for record in self._records():
            if isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels.get(record.channel_id)
                if channel is None:
                    self.whole = False
                    return
                kind, stream = channel.metadata.get("kind"), channel.metadata.get("stream")
                if kind in KINDS and stream is not None:
                    yield Entry(
                        kind,
                        stream,
                        record.log_time,
                        record.publish_time,
                        record.sequence,
                        record.data,
                    )

    def _records(self) -> Iterator[object]:
        try:
            with self.path.open("rb") as file:
                limited = Limited(file, self.path.stat().st_size)
                for record in StreamReader(limited, emit_chunks=True, validate_crcs=True).records:  # type: ignore[arg-type]  # it only reads
                    if isinstance(record, Chunk):
                        yield from breakup_chunk(expanded(record), validate_crc=True)
                    else:
                        yield record
                self.whole = True
        except OSError as error:
            raise RecordingError(
                f"recording {self.path}: expected an MCAP file, got {error.strerror}"
            ) from None
        except DAMAGED:
            self.whole = False  # torn by a crash: what came before it stands
