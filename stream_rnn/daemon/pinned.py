"""Payloads that may not speak for another stream than their topic's, connection's or sender's."""

from collections.abc import Callable

from stream_rnn.errors import SampleError
from stream_rnn.sample import Prediction, Sample
from stream_rnn.wire import Codec


def check_pinned(named: str, stream: str) -> None:
    """Refuse a payload that names another stream.

    Args:
        named: The stream that the payload ends up in.
        stream: The one that the transport knows.

    Raises:
        SampleError: They differ.
    """
    if named != stream:
        raise SampleError(
            "stream", f"stream {stream!r}: expected its own samples, got some of {named[:40]!r}"
        )


class Pinned:
    """A codec whose samples are of the stream that the transport knows."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.encode_sample: Callable[[Sample], bytes] = codec.encode_sample
        self.encode_prediction: Callable[[Prediction, int], bytes] = codec.encode_prediction
        self.decode_prediction: Callable[[bytes], tuple[Prediction, int]] = codec.decode_prediction

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`.

        Raises:
            SampleError: A sample is of another stream.
        """
        samples = self._codec.decode_samples(payload, stream)
        for sample in samples:
            check_pinned(sample.stream, stream)
        return samples
