"""Bytes to samples or packets of spikes, predictions to bytes. No I/O: give it bytes, take messages.

Every codec of samples keeps the contract of `Codec`; `CODECS` names them as the config does, and `SPIKES`
those of packets, which are answered in the encoding that `answer_of` tells.
"""

from typing import Literal, Protocol, TypeAlias

from stream_rnn.sample import Prediction, Sample
from stream_rnn.wire import spikes
from stream_rnn.wire.f32 import F32Codec
from stream_rnn.wire.frame import FrameCodec
from stream_rnn.wire.named import JSON, MSGPACK


class Codec(Protocol):
    """One family of payloads, in and out."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """The samples of one payload: one, but for the forms that carry several.

        Args:
            payload: One whole message.
            stream: Key the transport knows; a key inside the payload goes before it.

        Raises:
            WireError: The bytes are not a sample; `reason` says which way.
        """

    def encode_sample(self, sample: Sample) -> bytes:
        """A sample as bytes: what a producer sends."""

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:
        """A prediction as bytes, with the time it leaves."""

    def decode_prediction(self, payload: bytes) -> tuple[Prediction, int]:
        """A prediction and the time it was published, from its bytes.

        Raises:
            WireError: The bytes are not a prediction of this family.
        """


WireName: TypeAlias = Literal["json", "msgpack", "f32", "frame"]
"""Encodings of samples and predictions."""
SpikesName: TypeAlias = Literal["spikes_json", "spikes_msgpack"]
"""Encodings of packets of spikes."""
AnyWire: TypeAlias = Literal[WireName, SpikesName]
"""What may come in."""

CODECS: dict[WireName, Codec] = {"json": JSON, "msgpack": MSGPACK, "f32": F32Codec(), "frame": FrameCodec()}
SPIKES: dict[SpikesName, spikes.SpikesCodec] = {"spikes_json": spikes.JSON, "spikes_msgpack": spikes.MSGPACK}


def answer_of(wire: AnyWire) -> WireName:
    """The encoding of the predictions that answer what comes in so."""
    if wire == "spikes_json":
        return "json"
    return "msgpack" if wire == "spikes_msgpack" else wire
