"""One message as a pure function of bytes: the seam for an engine that keeps the state itself."""

from typing import Protocol

from stream_rnn.predictor import Predictor
from stream_rnn.sample import Prediction, Sample, Spikes
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared


class SampleCodec(Protocol):
    """The part of a codec that `advance` needs."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """The samples of one payload."""

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:
        """A prediction as bytes."""


class SpikesCodec(Protocol):
    """The part of a codec of packets that `advance_spikes` needs."""

    def decode(self, payload: bytes, stream: str) -> Spikes:
        """The packet of one payload."""


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
    session = _session(predictor, rules, stream, state)
    return _fed(session, codec.decode_samples(payload, stream), codec)


def advance_spikes(
    predictor: Predictor,
    rules: Rules,
    codec: SpikesCodec,
    answers: SampleCodec,
    stream: str,
    state: bytes,
    payload: bytes,
) -> tuple[bytes, list[bytes]]:
    """`advance`, of a packet of spikes.

    Args:
        predictor: As of `advance`, as are the others.
        rules: The sequence rules.
        codec: The encoding of the payload.
        answers: The encoding of predictions.
        stream: Key of the stream.
        state: What the call before returned; empty before the first.
        payload: The packet.

    Returns:
        As of `advance`.

    Raises:
        WireError: The payload is no packet; the state stands as it was.
        SampleError: The packet does not fit the model; likewise.
        ModelError: The state is of another model.
    """
    session = _session(predictor, rules, stream, state)
    return _fed(session, session.bin(codec.decode(payload, stream)).samples, answers)


def _session(predictor: Predictor, rules: Rules, stream: str, state: bytes) -> Session:
    shared = Shared(predictor, rules, "")
    return Session.from_bytes(state, shared) if state else Session(stream, shared)


def _fed(session: Session, samples: list[Sample], codec: SampleCodec) -> tuple[bytes, list[bytes]]:
    predictions = [
        codec.encode_prediction(prediction, 0)
        for sample in samples
        for prediction in session.feed(sample, 0, lambda: 0)
    ]
    return session.to_bytes(), predictions
