"""What a session may be told, and what it counts."""

from typing import Annotated, Literal

import msgspec

NonNegative = Annotated[int, msgspec.Meta(ge=0)]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a session does with samples that do not follow each other.

    Attributes:
        gap: What fills missing samples: `hold` steps the last sample again, `zero` steps zeros, `skip` steps
            nothing, `reset` starts the state anew.
        max_fill: Longest gap, in samples, that `hold` and `zero` fill; a longer one resets.
        reorder: Samples that may wait for an earlier one; 0 answers at once and refuses late ones.
        restart_after: Consecutive late samples after which the producer counts as started again; 0 never.
        deadline_ms: A sample older than this when it is stepped is stale; 0 switches it off.
        stale: Whether a stale prediction is published with a flag or withheld. The state steps either way.
    """

    gap: Literal["hold", "zero", "skip", "reset"] = "hold"
    max_fill: NonNegative = 100
    reorder: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    restart_after: NonNegative = 100
    deadline_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    stale: Literal["flag", "withhold"] = "flag"


class Counters(msgspec.Struct):
    """What happened to a stream's samples; every sample that came ends in one of the first five.

    One that waited while the stream was reset is let go, and counted under `missed`.
    """

    stepped: int = 0
    duplicate: int = 0
    late: int = 0
    failed: int = 0
    waiting: int = 0
    gaps: int = 0
    missed: int = 0
    filled: int = 0
    imputed: int = 0
    resets: int = 0
    stale: int = 0
    withheld: int = 0


class Packets(msgspec.Struct):
    """What happened to packets of spikes, of all streams; each ends in `taken`, `duplicate` or `late`.

    Attributes:
        taken: Told something new.
        duplicate: Told nothing new.
        late: Of a gap that had been given up.
        overlapping: Taken, though a part of it had been told before.
        gaps: Times that nothing was told of.
        spikes: Spikes that came.
        repeated: Of these, those told before, or late.
        lost: Of these, those in rows that are not wholly covered.
    """

    taken: int = 0
    duplicate: int = 0
    late: int = 0
    overlapping: int = 0
    gaps: int = 0
    spikes: int = 0
    repeated: int = 0
    lost: int = 0
