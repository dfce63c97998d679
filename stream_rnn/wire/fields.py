"""The fields of a sample and a prediction, shared by the encodings that name them (JSON, MessagePack)."""

import math
from typing import Annotated, TypeAlias

import msgspec
import numpy as np

from stream_rnn.errors import WireError
from stream_rnn.sample import F32, Flag, Prediction, Sample

VERSION = 1
NAN = int(Flag.NAN)  # an enum's own operators cost more than the rest of a prediction

Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Value: TypeAlias = float | None  # JSON has no NaN: null is a missing feature


class SampleFields(msgspec.Struct, gc=False):
    """`{"seq": 7, "t_ns": 1, "x": [...]}`; a producer's other fields are left alone."""

    x: list[Value]
    seq: Integer | None = None
    t_ns: Integer | None = None
    stream: str | None = None


class OpenBciFields(msgspec.Struct, gc=False):
    """One element of what OpenBCI's GUI publishes: microseconds and channels."""

    timestamp: Annotated[float, msgspec.Meta(ge=0, le=9e15)]
    data: list[Value]


Payload: TypeAlias = SampleFields | list[OpenBciFields | Value]
"""Every form a sample may take: an object, a bare array, or OpenBCI's array of objects."""


class PredictionFields(msgspec.Struct, gc=False):
    """A prediction as it goes out, in this order."""

    v: int
    stream: str
    seq: int
    session: str
    y: list[Value]
    model: str
    flags: list[str]
    missed: int
    t_source_ns: int | None
    t_received_ns: int
    t_stepped_ns: int
    t_published_ns: int


class IntervalFields(PredictionFields, gc=False, omit_defaults=True):
    """The same with an interval, where one was asked for."""

    y_low: list[Value] | None = None
    y_high: list[Value] | None = None


FLAG_NAMES: dict[int, list[str]] = {}
"""Names of each combination of flags met so far; there are at most 128."""


def flag_names(flags: int) -> list[str]:
    """Lower-case names of the flags set, in the order of their bits."""
    names = FLAG_NAMES.get(flags)
    if names is None:
        names = FLAG_NAMES[flags] = [str(flag.name).lower() for flag in Flag if flag & flags]
    return names


def to_samples(payload: Payload, stream: str) -> list[Sample]:
    """The samples of one decoded payload.

    Raises:
        WireError: A mixed or empty array.
    """
    if isinstance(payload, SampleFields):
        return [Sample(payload.stream or stream, payload.seq, payload.t_ns, to_floats(payload.x))]
    if payload and isinstance(payload[0], OpenBciFields):
        return [_from_openbci(element, stream) for element in payload]
    return [Sample(stream, None, None, to_floats(payload))]


def _from_openbci(element: OpenBciFields | Value, stream: str) -> Sample:
    if not isinstance(element, OpenBciFields):
        raise WireError("fields", f"stream {stream!r}: expected objects only, got a mixed array")
    whole = int(element.timestamp)  # microseconds; as a float, epoch nanoseconds would lose their last digits
    t_ns = 1000 * whole + int((element.timestamp - whole) * 1000)
    return Sample(stream, None, t_ns, to_floats(element.data))


def to_floats(values: list[Value] | list[OpenBciFields | Value]) -> F32:
    """Float32 features; null becomes NaN, what is beyond float32 becomes infinite (a missing value too)."""
    if not values:
        raise WireError("fields", "sample: expected at least one feature, got an empty array")
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np.float32)
    except TypeError:
        raise WireError("fields", "sample: expected numbers only, got a mixed array") from None


def to_fields(prediction: Prediction, t_published_ns: int) -> PredictionFields:
    """A prediction's fields, ready to encode."""
    y: list[Value] = prediction.y.tolist()
    if int(prediction.flags) & NAN:
        y = [value if value is not None and math.isfinite(value) else None for value in y]
    fields = PredictionFields(
        VERSION,
        prediction.stream,
        prediction.seq,
        prediction.session,
        y,
        prediction.model,
        flag_names(int(prediction.flags)),
        prediction.missed,
        prediction.t_source_ns,
        prediction.t_received_ns,
        prediction.t_stepped_ns,
        t_published_ns,
    )
    if prediction.bounds is None:
        return fields
    return IntervalFields(*msgspec.structs.astuple(fields), *prediction.bounds.tolist())


def to_prediction(fields: IntervalFields) -> tuple[Prediction, int]:
    """A prediction and the time it was published.

    Raises:
        WireError: Another version, or a flag of another version, or an interval of other outputs.
    """
    if fields.v != VERSION:
        raise WireError("version", f"prediction: expected version {VERSION}, got {fields.v}")
    flags = Flag(0)
    for name in fields.flags:
        if name.upper() not in Flag.__members__:
            raise WireError("fields", f"prediction: expected a known flag, got {name!r}")
        flags |= Flag[name.upper()]
    prediction = Prediction(
        stream=fields.stream,
        seq=fields.seq,
        session=fields.session,
        model=fields.model,
        y=to_floats(fields.y),
        flags=flags,
        missed=fields.missed,
        t_source_ns=fields.t_source_ns,
        t_received_ns=fields.t_received_ns,
        t_stepped_ns=fields.t_stepped_ns,
        bounds=_bounds(fields),
    )
    return prediction, fields.t_published_ns


def _bounds(fields: IntervalFields) -> F32 | None:
    low, high = fields.y_low, fields.y_high
    if low is None and high is None:
        return None
    if low is None or high is None or not len(low) == len(high) == len(fields.y):
        raise WireError("fields", "prediction: expected y_low and y_high of each output, or neither")
    return np.stack([to_floats(low), to_floats(high)])
