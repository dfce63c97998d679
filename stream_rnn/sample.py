"""Sample and Prediction, alone or as rows, and Spikes: the frozen values that travel. No encoding."""

import enum
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
I64: TypeAlias = NDArray[np.int64]


class Flag(enum.IntFlag):
    """What a consumer must know about a prediction beside its value."""

    GAP = 1  # samples are missing just before this one; `missed` says how many
    IMPUTED = 2  # a missing or non-finite feature was replaced by the model's policy
    RESET = 4  # the hidden state started anew with this sample
    STALE = 8  # the sample was older than the deadline when it was stepped
    NAN = 16  # a NaN that no policy replaced reached the output
    RESTORED = 32  # the session was evicted or restarted and came back from stored state
    WARMUP = 64  # the first bin is not yet full: zeros stand for the samples before the first
    RELOADED = 128  # the first prediction of another model, which goes on from the last one's hidden state


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One observation of one stream.

    Attributes:
        stream: Key of the stream whose samples share a hidden state.
        seq: The producer's number, or None where only the order of arrival counts.
        t_ns: Source time, epoch nanoseconds, or None.
        x: Features, (D,). NaN marks a missing channel.
    """

    stream: str
    seq: int | None
    t_ns: int | None
    x: F32


class Spikes(msgspec.Struct, frozen=True, gc=False):
    """Everything that the units of one stream did between two instants: one packet.

    Attributes:
        stream: Key of the stream.
        from_ns: Where the packet begins, epoch nanoseconds.
        to_ns: Where it ends; this instant is of the next packet.
        units: Which unit fired, from 0, (N,).
        times_ns: When, from `from_ns` on and before `to_ns`, in any order, (N,).
    """

    stream: str
    from_ns: int
    to_ns: int
    units: list[int]
    times_ns: list[int]


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What one step said.

    Attributes:
        stream: Key of the stream.
        seq: Number of the sample that was stepped.
        session: Id of the daemon run that made it.
        model: Short hash of the model that made it.
        y: Outputs, (K,), in the model's units.
        flags: What to know about it.
        missed: Number of samples missing just before this one.
        t_source_ns: The sample's own time, epoch nanoseconds, or None.
        t_received_ns: When its bytes arrived, epoch nanoseconds.
        t_stepped_ns: When the step was done, epoch nanoseconds.
        bounds: Lower and upper end of the interval of each output, (2, K), or None where none was asked for.
    """

    stream: str
    seq: int
    session: str
    model: str
    y: F32
    flags: Flag = Flag(0)
    missed: int = 0
    t_source_ns: int | None = None
    t_received_ns: int = 0
    t_stepped_ns: int = 0
    bounds: F32 | None = None


NONE = -1
"""In the place of a seq or a time that a sample does not have."""


class Rows(NamedTuple):
    """Samples, a row each.

    Attributes:
        streams: Keys of their streams.
        seqs: The producer's numbers, or NONE, (N,).
        times: Source times, epoch nanoseconds, or NONE, (N,).
        X: Features, (N, D).
    """

    streams: Sequence[str]
    seqs: I64
    times: I64
    X: F32

    def samples(self) -> list[Sample]:
        """The same, one by one."""
        rows = zip(self.streams, self.seqs.tolist(), self.times.tolist(), self.X, strict=True)
        return [
            Sample(stream, None if seq == NONE else seq, None if t_ns == NONE else t_ns, x)
            for stream, seq, t_ns, x in rows
        ]


class Steps(NamedTuple):
    """What the steps of rows said that had nothing out of the ordinary to tell: no flags, nothing missed.

    Attributes:
        streams: Keys of their streams.
        seqs: Numbers of the samples.
        times: Source times, epoch nanoseconds, or NONE.
        Y: Outputs, (N, K).
        session: As of `Prediction`.
        model: Likewise.
        t_received_ns: When each one's bytes arrived, epoch nanoseconds.
        t_stepped_ns: When the last step was done.
        bounds: As of `Prediction`, (N, 2, K).
    """

    streams: Sequence[str]
    seqs: list[int]
    times: list[int]
    Y: F32
    session: str
    model: str
    t_received_ns: list[int]
    t_stepped_ns: int
    bounds: F32 | None = None
