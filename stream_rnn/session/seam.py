"""One message as a pure function of bytes: the seam for an engine that keeps the state itself."""

from typing import Protocol

from stream_rnn.predictor import Predictor
from stream_rnn.sample import Prediction, Sample
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared


class SampleCodec(Protocol):
    """The part of a codec that `advance` needs."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """The samples of one payload."""

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:
        """A prediction as bytes."""


def advance(
    predictor: Predictor, rules: Rules, codec: SampleCodec, stream: str, state: bytes, payload: bytes
) -> tuple[bytes, list[bytes]]:
    """Take one message in.

    Args:
        predictor: The model; its own streams are not touched.
        rules: The sequence rules.
        codec: The encoding of payload and predictions.
        stream: Key of the stream.
        state: What the call before returned; empty before the first.
        payload: The message.

    Returns:
        The state after the message, and its predictions. Times are 0: they are not a function of the bytes.

    Raises:
        WireError: The payload is not a sample; the state stands as it was.
        SampleError: The sample does not fit the model; likewise.
        ModelError: The state is of another model.
    """
    shared = Shared(predictor, rules, "")
    session = Session.from_bytes(state, shared) if state else Session(stream, shared)
    predictions = [
        codec.encode_prediction(prediction, 0)
        for sample in codec.decode_samples(payload, stream)
        for prediction in session.feed(sample, 0, lambda: 0)
    ]
    return session.to_bytes(), predictions
