"""Raw little-endian float32: the features, nothing else. Order of arrival stands for the sequence number."""

import sys

import numpy as np

from stream_rnn.errors import WireError
from stream_rnn.sample import F32, Flag, Prediction, Sample

WIRE = np.dtype("<f4")
NATIVE = np.dtype(np.float32)
LITTLE = sys.byteorder == "little"


def to_values(payload: bytes, at: int = 0) -> F32:
    """The float32 from a place, a multiple of four, to the end: copied, writable, aligned.

    Numba compiles a kernel anew for an array that may not be written to.
    """
    values: F32 = np.ndarray(
        (len(payload) - at) >> 2, WIRE, bytearray(payload), at
    )  # sooner than `frombuffer`
    return values if LITTLE else values.astype(NATIVE)


def to_wire(values: F32) -> bytes:
    """Float32 as little-endian bytes."""
    return values.tobytes() if LITTLE else values.astype(WIRE).tobytes()


class F32Codec:
    """Features in, outputs out, four bytes each."""

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`."""
        if not payload or len(payload) % 4:
            got = len(payload)
            raise WireError("length", f"stream {stream!r}: expected whole float32 values, got {got} bytes")
        return [Sample(stream, None, None, to_values(payload))]

    def encode_sample(self, sample: Sample) -> bytes:
        """See `Codec`."""
        return to_wire(sample.x)

    def encode_prediction(self, prediction: Prediction, t_published_ns: int) -> bytes:  # noqa: ARG002 - no place for it
        """See `Codec`."""
        return to_wire(prediction.y)

    def decode_prediction(self, payload: bytes) -> tuple[Prediction, int]:
        """See `Codec`. Raw values carry neither stream nor times: those are empty and 0."""
        y = self.decode_samples(payload, "").pop().x
        flags = Flag(0) if np.isfinite(y).all() else Flag.NAN
        return Prediction(stream="", seq=0, session="", model="", y=y, flags=flags), 0
