"""The binary frame: a fixed little-endian header, the stream key, padding to four bytes, float32 values.

    magic "sr" | version u8 | kind u8 | flags u16 | key bytes u16 | values u32 | seq i64 | t_ns i64
    a prediction goes on: missed u32 | session 12 s | model 12 s | t_received, t_stepped, t_published i64
    one with an interval is a kind of its own: its values are the outputs, their low ends, their high ends

seq -1 and t_ns -1 mean none; missed stops at its largest value. On a byte stream each frame follows its
length, u32 (see transports).
"""

import struct

from stream_rnn.errors import WireError
from stream_rnn.sample import F32, Flag, Prediction, Sample
from stream_rnn.wire.f32 import to_values, to_wire

MAGIC, VERSION, NONE = b"sr", 1, -1
SAMPLE, PREDICTION, INTERVAL = 1, 2, 3
KIND_AT = 3
HEADER = struct.Struct("<2sBBHHIqq")
SEQ_AT, T_NS_AT = 12, 20
"""Where in the header they are: what is before them tells the form of what follows."""
TRAILER = struct.Struct("<I12s12sqqq")
PREDICTION_HEAD = struct.Struct(HEADER.format + TRAILER.format.removeprefix("<"))
PADDING = [bytes(-size % 4) for size in range(4)]
FLAGS = int(sum(Flag))
MAX_MISSED = 2**32 - 1


class FrameCodec:
    """Samples and predictions as binary frames: the fastest form with numbers and times."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`."""
        _, key, seq, t_ns, _, x = _open(payload, SAMPLE)
        return [Sample(key or stream, None if seq == NONE else seq, None if t_ns == NONE else t_ns, x)]

    def encode_sample(self, sample: Sample) -> bytes:
        """See `Codec`."""
        key, x = sample.stream.encode(), sample.x
        seq = NONE if sample.seq is None else sample.seq
        t_ns = NONE if sample.t_ns is None else sample.t_ns
        head = HEADER.pack(MAGIC, VERSION, SAMPLE, 0, len(key), x.shape[0], seq, t_ns)
        return b"".join((head, key, PADDING[(len(head) + len(key)) % 4], to_wire(x)))

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:
        """See `Codec`."""
        key, t_ns, y = prediction.stream.encode(), prediction.t_source_ns, prediction.y
        kind, count, values = PREDICTION, y.shape[0], to_wire(y)
        if prediction.bounds is not None:
            kind, count, values = INTERVAL, 3 * count, values + to_wire(prediction.bounds)
        head = PREDICTION_HEAD.pack(
            MAGIC,
            VERSION,
            kind,
            prediction.flags,
            len(key),
            count,
            prediction.seq,
            NONE if t_ns is None else t_ns,
            min(prediction.missed, MAX_MISSED),
            prediction.session.encode(),
            prediction.model.encode(),
            prediction.t_received_ns,
            prediction.t_stepped_ns,
            t_published_ns,
        )
        return b"".join((head, key, PADDING[(len(head) + len(key)) % 4], values))

    def decode_prediction(self, payload: bytes) -> tuple[Prediction, int]:
        """See `Codec`."""
        kind = INTERVAL if payload[KIND_AT : KIND_AT + 1] == bytes([INTERVAL]) else PREDICTION
        flags, key, seq, t_ns, trailer, values = _open(payload, kind)
        y, bounds = (values, None) if kind == PREDICTION else _parted(values)
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
            bounds=bounds,
        )
        return prediction, t_published_ns


def _parted(values: F32) -> tuple[F32, F32]:
    """Outputs, (K,), and their intervals, (2, K)."""
    K, rest = divmod(values.shape[0], 3)
    if rest:
        raise WireError("length", f"frame: expected three values for each output, got {values.shape[0]}")
    return values[:K], values[K:].reshape(2, K)


def form(payload: bytes) -> tuple[str, int]:
    """Stream key, or nothing, and number of features of a well-formed sample.

    Raises:
        WireError: It is none.
    """
    _, key, _, _, _, x = _open(payload, SAMPLE)
    return key, x.shape[0]


def _open(
    payload: bytes, kind: int
) -> tuple[int, str, int, int, tuple[int, bytes, bytes, int, int, int], F32]:
    fixed = HEADER.size if kind == SAMPLE else PREDICTION_HEAD.size
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
    trailer = TRAILER.unpack_from(payload, HEADER.size) if kind != SAMPLE else (0, b"", b"", 0, 0, 0)
    key = _text(payload[fixed : fixed + key_size]) if key_size else ""
    return flags, key, seq, t_ns, trailer, to_values(payload, values_at)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError("encoding", f"frame: expected UTF-8 text, got {error.reason}") from None
