"""A session as bytes: what follows does not depend on whether it was put away in between."""

import msgspec
import numpy as np

from stream_rnn.errors import ModelError
from stream_rnn.interval import Adapted, Interval
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Flag, Sample
from stream_rnn.session.bins import Bins
from stream_rnn.session.rules import Counters
from stream_rnn.session.shared import Shared, Unusual

VERSION = 3
READABLE = (2, VERSION)  # 2 knew no spikes
MOST = 2**63 - 1
FLAGS = int(sum(Flag))


class Waiting(msgspec.Struct, array_like=True):
    """A sample that waits for an earlier one."""

    seq: int
    t_ns: int | None
    x: bytes
    t_received_ns: int


class Stored(msgspec.Struct, array_like=True):
    """Everything that what follows depends on."""

    version: int
    model: str
    stream: str
    last_seq: int
    last_t_ns: int | None
    last_x: bytes
    late_seq: int
    late_run: int
    fresh: bool
    gaps: list[tuple[int, int]]
    waiting: list[Waiting]
    counters: Counters
    memory: bytes
    owed: int = 0  # flags of the next prediction
    adapted: bytes = b""  # margins of its intervals
    bins: bytes = b""  # the row of spikes that is not full yet


def waiting_of(unusual: Unusual) -> list[Waiting]:
    """What waits in a session, to be stored."""
    return [
        Waiting(seq, sample.t_ns, sample.x.tobytes(), t_received_ns)
        for seq, (sample, t_received_ns) in sorted(unusual.waiting.items())
    ]


def parts_of(stored: Stored, shared: Shared) -> tuple[Unusual, Adapted | None]:
    """What a session that was stored keeps beside its row.

    Raises:
        ModelError: It cannot be read.
    """
    return unusual_of(stored, shared.predictor), adapted_of(stored, shared.interval)


def unusual_of(stored: Stored, predictor: Predictor) -> Unusual:
    """What was out of the ordinary in a session that was stored.

    Raises:
        ModelError: Its row of spikes is none.
    """
    unusual = Unusual()
    unusual.counters, unusual.gaps = stored.counters, stored.gaps
    unusual.late_seq, unusual.late_run = stored.late_seq, stored.late_run
    unusual.last_x, unusual.owed = _writable(stored.last_x), stored.owed
    unusual.waiting = {
        w.seq: (Sample(stored.stream, w.seq, w.t_ns, _writable(w.x)), w.t_received_ns) for w in stored.waiting
    }
    if stored.bins:
        unusual.bins = Bins.from_bytes(stored.bins, predictor.model.card.rate_hz, predictor.inputs)
    return unusual


def adapted_of(stored: Stored, interval: Interval | None) -> Adapted | None:
    """The margins of a session that was stored; None where no truth is to come, or none was to.

    Raises:
        ModelError: These are no margins.
    """
    if not stored.adapted or interval is None or not interval.pending:
        return None
    try:
        return Adapted.from_bytes(stored.adapted, interval)
    except (ValueError, msgspec.DecodeError) as error:
        raise ModelError(f"session state: expected margins of its intervals: {error}") from None


def _writable(raw: bytes) -> F32:
    """Float32 values, copied: the compiled step takes no read-only array."""
    return np.frombuffer(raw, dtype=np.float32).copy()


def read(data: bytes, predictor: Predictor, alike: tuple[str, ...] = ()) -> Stored:
    """The inverse of msgspec's MessagePack encoding of a `Stored`, checked.

    Args:
        data: What `Session.to_bytes` gave.
        predictor: The model.
        alike: Other models whose states mean the same to it.

    Raises:
        ModelError: Not a session, or one of another model.
    """
    try:
        stored = msgspec.msgpack.decode(data, type=Stored)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"session state: {error}") from None
    if stored.version not in READABLE:
        raise ModelError(f"session state: expected version {VERSION}, got {stored.version}")
    if stored.model != predictor.hash and stored.model not in alike:
        raise ModelError(f"session state: expected model {predictor.hash}, got {stored.model[:40]!r}")
    width = 4 * predictor.inputs
    for x in (stored.last_x, *(w.x for w in stored.waiting)):
        if len(x) != width:
            raise ModelError(f"session state: expected samples of {width} bytes, got {len(x)}")
    predictor.shape.check(stored.memory)
    _refuse_impossible(stored)
    return stored


def _refuse_impossible(stored: Stored) -> None:
    """Numbers that no session can have, and that the compiled step would not take.

    Raises:
        ModelError: There are some.
    """
    gaps = [edge for gap in stored.gaps for edge in gap]
    waiting = [number for w in stored.waiting for number in (w.seq, w.t_ns or 0, w.t_received_ns)]
    numbers = [stored.last_seq, stored.last_t_ns or 0, stored.late_seq, stored.late_run, *gaps, *waiting]
    numbers += msgspec.structs.astuple(stored.counters)
    if min(numbers) < -1 or max(numbers) > MOST:
        raise ModelError(f"session state: expected numbers from -1 to {MOST}, got others")
    if stored.owed & ~FLAGS:
        raise ModelError(f"session state: expected flags within {FLAGS:#x}, got {stored.owed:#x}")
