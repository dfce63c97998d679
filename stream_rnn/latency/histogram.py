"""Histograms of durations with a fixed relative error.

After HdrHistogram (Tene): values below 2048 ns are counted one by one, above in 1024 steps an octave, so that
every percentile is true to three digits. Histograms of one kind can be added.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_rnn.sample import I64

SUB_BITS = 11
HALF = 1 << (SUB_BITS - 1)
MAX_NS = 1 << 42  # 73 minutes; what is longer counts as this long
BUCKETS = HALF * (42 - SUB_BITS + 2) + 1
BATCH = 4096  # durations kept as they are before they are counted: appending is what the hot path pays


class Summary(msgspec.Struct, frozen=True):
    """Percentiles of one stage, in microseconds."""

    count: int
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Counted(msgspec.Struct, frozen=True):
    """A histogram as it travels: only the buckets that hold something.

    Attributes:
        buckets: Numbers of the buckets.
        counts: How many durations each holds.
        total_ns: Sum of all durations.
        max_ns: The longest.
    """

    buckets: list[Annotated[int, msgspec.Meta(ge=0, lt=BUCKETS)]]
    counts: list[int]
    total_ns: int
    max_ns: int


class Histogram:
    """Durations in nanoseconds. `record` is one append; counting happens in batches."""

    def __init__(self) -> None:
        self.counts: I64 = np.zeros(BUCKETS, dtype=np.int64)
        self.total_ns = 0
        self.max_ns = 0
        self._pending: list[int] = []

    def record(self, duration_ns: int) -> None:
        """Count one duration. A negative one, from clocks that disagree, counts as 0."""
        self._pending.append(duration_ns)
        if len(self._pending) >= BATCH:
            self._count()

    def record_many(self, durations_ns: Iterable[int]) -> None:
        """Count several."""
        self._pending.extend(durations_ns)
        if len(self._pending) >= BATCH:
            self._count()

    def add(self, other: "Histogram") -> None:
        """Take in all that another histogram has counted."""
        if other.count:
            self.counts += other.counts
        self.total_ns += other.total_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    def counted(self) -> Counted:
        """Everything it holds."""
        self._count()
        buckets = np.flatnonzero(self.counts)
        return Counted(buckets.tolist(), self.counts[buckets].tolist(), self.total_ns, self.max_ns)

    @classmethod
    def of(cls, counted: Counted) -> "Histogram":
        """The histogram that `counted` was called on."""
        histogram = cls()
        histogram.counts[counted.buckets] = counted.counts
        histogram.total_ns, histogram.max_ns = counted.total_ns, counted.max_ns
        return histogram

    @property
    def count(self) -> int:
        """Number of durations."""
        self._count()
        return int(self.counts.sum())

    def percentile_ns(self, percent: float) -> int:
        """Smallest duration that at least `percent` of all do not exceed, true to three digits; 0 if none."""
        return self._percentiles_ns((percent,))[0]

    def _percentiles_ns(self, percents: Sequence[float]) -> list[int]:
        """Several at once: one pass over the buckets."""
        self._count()
        cumulative = np.cumsum(self.counts)
        total = int(cumulative[-1])
        if total == 0:
            return [0] * len(percents)
        ranks = [max(1, int(np.ceil(total * percent / 100.0 - 1e-9))) for percent in percents]
        buckets = np.searchsorted(cumulative, ranks).tolist()
        return [min(middle_ns(bucket), self.max_ns) for bucket in buckets]

    def summary(self) -> Summary:
        """What there is to say about them."""
        count = self.count
        p50, p90, p99, p999 = (p / 1000.0 for p in self._percentiles_ns((50, 90, 99, 99.9)))
        mean = self.total_ns / count / 1000.0 if count else 0.0
        return Summary(count, round(mean, 3), p50, p90, p99, p999, self.max_ns / 1000.0)

    def clear(self) -> None:
        """Forget everything."""
        self.counts[:] = 0
        self.total_ns = self.max_ns = 0
        self._pending.clear()

    def _count(self) -> None:
        if not self._pending:
            return
        values = np.clip(np.array(self._pending, dtype=np.int64), 0, MAX_NS)
        self._pending.clear()
        np.add.at(self.counts, _buckets(values), 1)
        self.total_ns += int(values.sum())
        self.max_ns = max(self.max_ns, int(values.max()))


def _buckets(values: I64) -> NDArray[np.int64]:
    octave = np.maximum(np.frexp(values.astype(np.float64))[1] - SUB_BITS, 0)
    bucket: NDArray[np.int64] = HALF * octave + (values >> octave)
    return bucket


def bucket_of(duration_ns: int) -> int:
    """The bucket that counts a duration."""
    return int(_buckets(np.array([duration_ns], dtype=np.int64))[0])


def middle_ns(bucket: int) -> int:
    """The duration in the middle of a bucket."""
    octave = max(0, bucket // HALF - 1)
    low = (bucket - HALF * octave) << octave
    return low + ((1 << octave) >> 1)
