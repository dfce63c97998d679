"""Encodings that name their fields: JSON as people write it by hand, and MessagePack of the same."""

from typing import Protocol

import msgspec

from stream_rnn.errors import WireError
from stream_rnn.sample import Prediction, Sample
from stream_rnn.wire.fields import (
    IntervalFields,
    Payload,
    SampleFields,
    to_fields,
    to_prediction,
    to_samples,
)


class Decoder(Protocol):
    """What msgspec's decoders have in common."""

    def decode(self, buf: bytes, /) -> object:
        """An object of the type the decoder was made for."""


class Encoder(Protocol):
    """What msgspec's encoders have in common."""

    def encode(self, obj: object, /) -> bytes:
        """The object as bytes."""


class NamedCodec:
    """One such encoding. A float32 is written so that it reads back to the same bits."""

    def __init__(self, name: str, sample: Decoder, prediction: Decoder, encoder: Encoder) -> None:
        self.name = name
        self._sample, self._prediction, self._encoder = sample, prediction, encoder

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`."""
        return to_samples(decoded(self.name, self._sample, payload, f"stream {stream!r}"), stream)  # type: ignore[arg-type]

    def encode_sample(self, sample: Sample) -> bytes:
        """See `Codec`."""
        x = [value if value == value else None for value in sample.x.tolist()]  # noqa: PLR0124 - NaN is not itself
        return self._encoder.encode(SampleFields(x, sample.seq, sample.t_ns, sample.stream or None))

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:
        """See `Codec`."""
        return self._encoder.encode(to_fields(prediction, t_published_ns))

    def decode_prediction(self, payload: bytes) -> tuple[Prediction, int]:
        """See `Codec`."""
        return to_prediction(decoded(self.name, self._prediction, payload, "prediction"))  # type: ignore[arg-type]


def decoded(name: str, decoder: Decoder, payload: bytes, subject: str) -> object:
    """An object from its bytes.

    Args:
        name: Of the encoding.
        decoder: Of the object.
        payload: One whole message.
        subject: What an error speaks of.

    Raises:
        WireError: They are none.
    """
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise WireError("fields", f"{subject}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError("syntax", f"{subject}: expected {name}: {error}") from None
    except RecursionError:
        raise WireError("syntax", f"{subject}: expected {name}, got endless nesting") from None


JSON = NamedCodec(
    "JSON",
    msgspec.json.Decoder(Payload),
    msgspec.json.Decoder(IntervalFields),
    msgspec.json.Encoder(),
)
MSGPACK = NamedCodec(
    "MessagePack",
    msgspec.msgpack.Decoder(Payload),
    msgspec.msgpack.Decoder(IntervalFields),
    msgspec.msgpack.Encoder(),
)
