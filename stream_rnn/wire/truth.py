"""What a prediction should have been, from JSON: `{"seq": 7, "y": [1.5, -2.0]}`."""

from typing import NamedTuple

import msgspec

from stream_rnn.errors import WireError
from stream_rnn.sample import F32
from stream_rnn.wire.fields import Integer, Value, to_floats
from stream_rnn.wire.named import parsed


class Truth(NamedTuple):
    """The truth of one prediction.

    Attributes:
        stream: Key of the stream.
        seq: Number of the sample that was answered.
        y: Outputs, (K,); NaN where there is none.
    """

    stream: str
    seq: int
    y: F32


class TruthFields(msgspec.Struct, gc=False):
    """As it is sent; other fields are left alone."""

    seq: Integer
    y: list[Value]
    stream: str | None = None


DECODER = msgspec.json.Decoder(TruthFields)


def decode_truth(payload: bytes, stream: str) -> Truth:
    """The truth in one payload.

    Args:
        payload: One whole message.
        stream: Key the topic knows; a key inside the payload goes before it.

    Raises:
        WireError: The bytes are none.
    """
    fields = parsed(DECODER, payload, f"truth of {stream!r}", "JSON")
    assert isinstance(fields, TruthFields)
    if not fields.y:
        raise WireError("fields", f"truth of {stream!r}: expected at least one output, got an empty array")
    return Truth(fields.stream or stream, fields.seq, to_floats(fields.y))
