"""The binary frame: a fixed little-endian header, the stream key, padding to four bytes, float32 values.

    magic "sr" | version u8 | kind u8 | flags u16 | key bytes u16 | values u32 | seq i64 | t_ns i64
    a prediction goes on: missed u32 | session 12 s | model 12 s | t_received, t_stepped, t_published i64

seq -1 and t_ns -1 mean none; missed stops at its largest value. On a byte stream each frame follows its
length, u32 (see transports).
"""

import struct

import numpy as np

from stream_rnn.errors import WireError
from stream_rnn.sample import F32, Flag, Prediction, Sample

MAGIC, VERSION, SAMPLE, PREDICTION, NONE = b"sr", 1, 1, 2, -1
HEADER = struct.Struct("<2sBBHHIqq")
TRAILER = struct.Struct("<I12s12sqqq")
FLAGS = sum(Flag)
MAX_MISSED = 2**32 - 1


class FrameCodec:
    """Samples and predictions as binary frames: the fastest form with numbers and times."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`."""
        _, key, seq, t_ns, _, x = _open(payload, SAMPLE)
        return [Sample(key or stream, None if seq == NONE else seq, None if t_ns == NONE else t_ns, x)]

    def encode_sample(self, sample: Sample) -> bytes:
        """See `Codec`."""
        seq = NONE if sample.seq is None else sample.seq
        t_ns = NONE if sample.t_ns is None else sample.t_ns
        return _close(SAMPLE, 0, sample.stream, seq, t_ns, b"", sample.x)

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:
        """See `Codec`."""
        trailer = TRAILER.pack(
            min(prediction.missed, MAX_MISSED),
            prediction.session.encode(),
            prediction.model.encode(),
            prediction.t_received_ns,
            prediction.t_stepped_ns,
            t_published_ns,
        )
        t_ns = NONE if prediction.t_source_ns is None else prediction.t_source_ns
        return _close(
            PREDICTION, prediction.flags, prediction.stream, prediction.seq, t_ns, trailer, prediction.y
        )

    def decode_prediction(self, payload: bytes) -> tuple[Prediction, int]:
        """See `Codec`."""
        flags, key, seq, t_ns, trailer, y = _open(payload, PREDICTION)
        missed, session, model, t_received_ns, t_stepped_ns, t_published_ns = trailer
        prediction = Prediction(
            stream=key,
            seq=seq,
            session=_text(session.rstrip(b"\0")),
            model=_text(model.rstrip(b"\0")),
            y=y,
            flags=Flag(flags),
            missed=missed,
            t_source_ns=None if t_ns == NONE else t_ns,
            t_received_ns=t_received_ns,
            t_stepped_ns=t_stepped_ns,
        )
        return prediction, t_published_ns


def _close(kind: int, flags: int, stream: str, seq: int, t_ns: int, trailer: bytes, values: F32) -> bytes:
    key = stream.encode()
    head = HEADER.pack(MAGIC, VERSION, kind, flags, len(key), values.shape[0], seq, t_ns)
    padding = bytes(-(len(head) + len(trailer) + len(key)) % 4)
    return b"".join((head, trailer, key, padding, values.astype("<f4", copy=False).tobytes()))


def _open(
    payload: bytes, kind: int
) -> tuple[int, str, int, int, tuple[int, bytes, bytes, int, int, int], F32]:
    fixed = HEADER.size + (TRAILER.size if kind == PREDICTION else 0)
    if len(payload) < fixed:
        raise WireError("length", f"frame: expected at least {fixed} bytes, got {len(payload)}")
    magic, version, got_kind, flags, key_size, count, seq, t_ns = HEADER.unpack_from(payload)
    if magic != MAGIC:
        raise WireError("syntax", f"frame: expected magic {MAGIC!r}, got {magic!r}")
    if version != VERSION:
        raise WireError("version", f"frame: expected version {VERSION}, got {version}")
    if got_kind != kind or flags & ~FLAGS:
        raise WireError("fields", f"frame: expected kind {kind}, got kind {got_kind}, flags {flags:#x}")
    if seq < (NONE if kind == SAMPLE else 0) or t_ns < NONE:
        raise WireError("fields", f"frame: expected seq and t_ns from 0 (-1: none), got {seq}, {t_ns}")
    values_at = fixed + key_size + -(fixed + key_size) % 4
    expected = values_at + 4 * count
    if count == 0 or len(payload) != expected:
        raise WireError("length", f"frame: expected {expected} bytes for {count} values, got {len(payload)}")
    trailer = TRAILER.unpack_from(payload, HEADER.size) if kind == PREDICTION else (0, b"", b"", 0, 0, 0)
    key = _text(payload[fixed : fixed + key_size])
    values = np.frombuffer(payload, dtype="<f4", offset=values_at).astype(np.float32)
    return flags, key, seq, t_ns, trailer, values


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError("encoding", f"frame: expected UTF-8 text, got {error.reason}") from None
