"""The stages of a sample's way, for each group of streams: of the last interval, and since the start."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec

from stream_rnn.latency.histogram import Histogram, Summary

STAGES = {
    "queue": "from the arrival of the bytes to decoding",
    "step": "decoding and stepping",
    "total": "from the arrival of the bytes to the prediction handed over",
    "end_to_end": "from the sample's own time to the prediction handed over; needs clocks that agree",
}
"""Every stage and what it spans."""

ALL = "all"
OTHER = "other"
MAX_KNOWN = 1 << 18  # streams whose group is remembered: bounds the memory against made-up keys

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

    def of(self, stream: str) -> Stages:
        """The histograms that a stream's durations are recorded in."""
        stages = self._known.get(stream)
        if stages is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            group = next((p for p in self._patterns if fnmatchcase(stream, p)), self._rest)
            stages = self._known[stream] = self._interval[group]
        return stages

    def by_group(self, taken: Sequence[tuple[str, int]]) -> Iterator[tuple[Stages, list[int]]]:
        """Sort (stream, number) pairs by the histograms that a stream's durations are recorded in."""
        if not self._patterns:
            yield self._interval[self._rest], [number for _, number in taken]
            return
        groups: dict[int, tuple[Stages, list[int]]] = {}
        for stream, number in taken:
            stages = self.of(stream)
            groups.setdefault(id(stages), (stages, []))[1].append(number)
        yield from groups.values()

    def roll(self) -> Times:
        """What the interval that ends now took; the next one begins."""
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
