"""Payloads of one form that came together, as the rows of one table: read in one go, answered in one loop.

What is not of one form, or not well-formed, is left to the codecs, which tell why: one payload after another.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stream_rnn.errors import WireError
from stream_rnn.sample import NONE, Rows, Steps
from stream_rnn.wire import frame
from stream_rnn.wire.f32 import NATIVE, WIRE, to_wire


class RowCodec(Protocol):
    """A family of payloads that can be read as rows."""

    def decode(self, payloads: Sequence[bytes], streams: Sequence[str]) -> Rows | None:
        """The rows of at least one payload; None where they must be decoded one by one.

        Args:
            payloads: Whole messages.
            streams: Key that the transport knows, of each; a key inside a payload goes before it.
        """

    def encode(self, steps: Steps, t_published_ns: int) -> list[bytes]:
        """The predictions as bytes, the same as one by one."""


class F32Rows:
    """Rows of raw float32."""

    def decode(self, payloads: Sequence[bytes], streams: Sequence[str]) -> Rows | None:
        """See `RowCodec`."""
        size = len(payloads[0])
        if size == 0 or size % 4 or any(len(payload) != size for payload in payloads):
            return None
        X = np.frombuffer(bytearray().join(payloads), WIRE).reshape(len(payloads), size // 4)
        none = np.full(len(payloads), NONE)
        return Rows(streams, none, none.copy(), X.astype(NATIVE, copy=False))

    def encode(self, steps: Steps, t_published_ns: int) -> list[bytes]:  # noqa: ARG002 - no place for it
        """See `RowCodec`."""
        values, size = to_wire(steps.Y), 4 * steps.Y.shape[1]
        return [values[at : at + size] for at in range(0, len(values), size)]


class FrameRows:
    """Rows of binary frames whose headers differ in number and time alone."""

    def decode(self, payloads: Sequence[bytes], streams: Sequence[str]) -> Rows | None:
        """See `RowCodec`."""
        first, size = payloads[0], len(payloads[0])
        if any(len(payload) != size for payload in payloads):
            return None
        try:
            key, width = frame.form(first)
        except WireError:
            return None
        table = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), size)
        head, seq_at, t_ns_at = frame.HEADER.size, frame.SEQ_AT, frame.T_NS_AT
        values_at = size - 4 * width
        alike = (table[:, :seq_at] == table[0, :seq_at]).all() and (
            values_at == head or (table[:, head:values_at] == table[0, head:values_at]).all()
        )
        seqs, times = (np.array(table[:, at : at + 8]).view("<i8")[:, 0] for at in (seq_at, t_ns_at))
        if not alike or seqs.min() < NONE or times.min() < NONE:
            return None
        X = np.array(table[:, values_at:]).view(WIRE).astype(NATIVE, copy=False)
        return Rows([key] * len(payloads) if key else streams, seqs, times, X)

    def encode(self, steps: Steps, t_published_ns: int) -> list[bytes]:
        """See `RowCodec`."""
        pack, join = frame.PREDICTION_HEAD.pack, b"".join
        kind, table = frame.PREDICTION, steps.Y
        if steps.bounds is not None:
            kind, table = frame.INTERVAL, np.hstack([steps.Y, steps.bounds.reshape(len(steps.Y), -1)])
        count = table.shape[1]
        values, size = to_wire(table), 4 * count
        session, model, t_stepped_ns = steps.session.encode(), steps.model.encode(), steps.t_stepped_ns
        keys = {stream: _padded(stream.encode()) for stream in set(steps.streams)}
        rows = zip(steps.streams, steps.seqs, steps.times, steps.t_received_ns, strict=True)
        fixed = frame.MAGIC, frame.VERSION, kind, 0
        payloads, at = [], 0
        for stream, seq, t_ns, t_received_ns in rows:
            key, length = keys[stream]
            head = pack(
                *fixed,
                length,
                count,
                seq,
                t_ns,
                0,
                session,
                model,
                t_received_ns,
                t_stepped_ns,
                t_published_ns,
            )
            payloads.append(join((head, key, values[at : at + size])))
            at += size
        return payloads


def _padded(key: bytes) -> tuple[bytes, int]:
    """A key as it stands in a frame, and its length without the padding."""
    return key + frame.PADDING[(frame.PREDICTION_HEAD.size + len(key)) % 4], len(key)


ROWS: dict[str, RowCodec] = {"f32": F32Rows(), "frame": FrameRows()}
"""By the name of the wire; what names its fields has no rows."""
