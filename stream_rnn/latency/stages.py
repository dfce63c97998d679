"""The stages of a sample's way, for each group of streams: of the last interval, and since the start."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec

from stream_rnn.latency.histogram import BATCH, Histogram, Summary

STAGES = {
    "queue": "from the arrival of the bytes to decoding",
    "step": "decoding and stepping",
    "total": "from the arrival of the bytes to the prediction handed over",
    "end_to_end": "from the sample's own time to the prediction handed over; needs clocks that agree",
}
"""Every stage and what it spans."""

ALL = "all"
OTHER = "other"
MAX_KNOWN = 1 << 17  # streams whose group is remembered: bounds the memory against made-up keys

Stages: TypeAlias = dict[str, Histogram]
"""A histogram for each stage."""


class Times(msgspec.Struct, frozen=True):
    """What there is to say about an interval.

    Attributes:
        stages: Each stage that was met, over all streams.
        groups: The same for each group, where there are some.
        step_s: Seconds spent in decoding and stepping.
    """

    stages: dict[str, Summary]
    groups: dict[str, dict[str, Summary]]
    step_s: float


class Taken(msgspec.Struct, frozen=True, gc=False):
    """Monotonic nanoseconds of one sample's way.

    Attributes:
        stream: Key of its stream.
        arrived: Its bytes came.
        began: They were taken up.
        stepped: Its step was done.
        done: Its prediction was handed over.
    """

    stream: str
    arrived: int
    began: int
    stepped: int
    done: int


class Latency:
    """How long the samples of each group of streams took.

    Args:
        patterns: Shell patterns of stream keys; each is a group, the first that matches counts. Streams that
            none matches are the group `other`; without patterns all streams are the group `all`.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = tuple(patterns)
        self._rest = OTHER if patterns else ALL
        names = [*patterns, self._rest]
        self._interval = {name: _stages() for name in names}
        self._whole = {name: _stages() for name in names}
        self._known: dict[str, Stages] = {}
        self._taken: list[Taken] = []  # counted in batches: appending is what the hot path pays

    def took(self, times: Taken) -> None:
        """Record one sample's way."""
        self._taken.append(times)
        if len(self._taken) >= BATCH:
            self._count()

    def took_together(
        self, streams: Sequence[str], arrived: Sequence[int], began: int, stepped: int, done: int
    ) -> None:
        """Record the ways of samples stepped in one call: each has its share, all waited for the last.

        Args:
            streams: Keys of their streams.
            arrived: When the bytes of each came.
            began: As of `Taken`.
            stepped: Likewise.
            done: Likewise.
        """
        if not arrived:
            return
        step = (stepped - began) // len(arrived)
        for stages, came in self._by_group(streams, arrived):
            stages["queue"].record_many([began - t for t in came])
            stages["step"].record_many([step] * len(came))
            stages["total"].record_many([done - t for t in came])

    def of(self, stream: str) -> Stages:
        """The histograms that a stream's durations are recorded in."""
        if not self._patterns:
            return self._interval[self._rest]
        stages = self._known.get(stream)
        if stages is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            group = next((p for p in self._patterns if fnmatchcase(stream, p)), self._rest)
            stages = self._known[stream] = self._interval[group]
        return stages

    def _count(self) -> None:
        """Sort what was taken into the histograms."""
        taken, self._taken = self._taken, []
        for times in taken:
            stages = self.of(times.stream)
            stages["queue"].record(times.began - times.arrived)
            stages["step"].record(times.stepped - times.began)
            stages["total"].record(times.done - times.arrived)

    def _by_group(
        self, streams: Sequence[str], numbers: Sequence[int]
    ) -> Iterator[tuple[Stages, Sequence[int]]]:
        """Sort a number of each stream by the histograms that its durations are recorded in."""
        if not self._patterns:
            yield self._interval[self._rest], numbers
            return
        groups: dict[int, tuple[Stages, list[int]]] = {}
        for stream, number in zip(streams, numbers, strict=True):
            stages = self.of(stream)
            groups.setdefault(id(stages), (stages, []))[1].append(number)
        yield from groups.values()

    def roll(self) -> Times:
        """What the interval that ends now took; the next one begins."""
        self._count()
        times = self._times(self._interval)
        for group, stages in self._interval.items():
            for stage, histogram in stages.items():
                self._whole[group][stage].add(histogram)
                histogram.clear()
        return times

    @property
    def groups(self) -> dict[str, Stages]:
        """Everything up to the last `roll`, by group and stage."""
        return self._whole

    def whole(self) -> Times:
        """What everything took, up to the last `roll`."""
        return self._times(self._whole)

    def _times(self, groups: dict[str, Stages]) -> Times:
        merged = next(iter(groups.values())) if len(groups) == 1 else _stages()
        for stages in groups.values():
            for stage, histogram in stages.items():
                if merged is not stages and histogram.count:
                    merged[stage].add(histogram)
        by_group = {group: _summaries(stages) for group, stages in groups.items()} if self._patterns else {}
        return Times(_summaries(merged), by_group, merged["step"].total_ns / 1e9)


def _stages() -> Stages:
    return {stage: Histogram() for stage in STAGES}


def _summaries(stages: Stages) -> dict[str, Summary]:
    return {stage: histogram.summary() for stage, histogram in stages.items() if histogram.count}
