"""Raw little-endian float32: the features, nothing else. Order of arrival stands for the sequence number."""

import numpy as np

from stream_rnn.errors import WireError
from stream_rnn.sample import Flag, Prediction, Sample


class F32Codec:
    """Features in, outputs out, four bytes each."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`."""
        if not payload or len(payload) % 4:
            got = len(payload)
            raise WireError("length", f"stream {stream!r}: expected whole float32 values, got {got} bytes")
        x = np.frombuffer(payload, dtype="<f4").astype(np.float32)  # aligned, whatever it was cut from
        return [Sample(stream, None, None, x)]

    def encode_sample(self, sample: Sample) -> bytes:
        """See `Codec`."""
        return sample.x.astype("<f4").tobytes()

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:  # noqa: ARG002 - no place for it
        """See `Codec`."""
        return prediction.y.astype("<f4").tobytes()

    def decode_prediction(self, payload: bytes) -> tuple[Prediction, int]:
        """See `Codec`. Raw values carry neither stream nor times: those are empty and 0."""
        y = self.decode_samples(payload, "").pop().x
        flags = Flag(0) if np.isfinite(y).all() else Flag.NAN
        return Prediction(stream="", seq=0, session="", model="", y=y, flags=flags), 0
