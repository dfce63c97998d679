"""A daemon's numbers as Prometheus reads them; docs/metrics.md is made from the same table."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from stream_rnn.latency.histogram import Histogram, bucket_of
from stream_rnn.latency.stages import STAGES, Stages

Facts: TypeAlias = Mapping[str, Any]
"""What the daemon's `status` tells, as plain values."""

EDGES_S = (*(round(m * 10.0**e, 7) for e in range(-6, 1) for m in (1, 2, 5)), 10.0)
"""Upper edges of the latency buckets: 1, 2, 5, from a microsecond to ten seconds. They never change."""

_STARTS = np.array([0, *(bucket_of(round(edge * 1e9)) + 1 for edge in EDGES_S)])
_NAMES = (*(repr(edge) for edge in EDGES_S), "+Inf")

Write: TypeAlias = Callable[[], bytes]
"""Gives the text of what was read before."""


class Metric(NamedTuple):
    """One name and what stands behind it.

    Attributes:
        name: Without the prefix, and for counters without `_total`.
        kind: What Prometheus makes of it.
        help: What it counts, with its unit.
        labels: Names of its labels.
        read: Gives (values of the labels, value).
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    read: Callable[[Facts], Iterable[tuple[tuple[str, ...], float]]]


def _one(key: str) -> Callable[[Facts], Iterable[tuple[tuple[str, ...], float]]]:
    return lambda facts: [((), facts[key])]


def _by(key: str) -> Callable[[Facts], Iterable[tuple[tuple[str, ...], float]]]:
    return lambda facts: [((name,), value) for name, value in facts[key].items()]


def _of_samples(key: str) -> Callable[[Facts], Iterable[tuple[tuple[str, ...], float]]]:
    return lambda facts: [((), facts["samples"][key])]


def _of_packets(*keys: str) -> Callable[[Facts], Iterable[tuple[tuple[str, ...], float]]]:
    return lambda facts: [((key,), facts["packets"][key]) for key in keys]


def _outcomes(facts: Facts) -> list[tuple[tuple[str, ...], float]]:
    return [((name,), facts["samples"][name]) for name in OUTCOMES]


def _transports(facts: Facts) -> Iterator[tuple[tuple[str, ...], float]]:
    for transport, counters in facts["transports"].items():
        for counter, value in counters.items():
            if counter != "up":
                yield (transport, counter), value


def _up(facts: Facts) -> Iterator[tuple[tuple[str, ...], float]]:
    for transport, counters in facts["transports"].items():
        yield (transport,), float(counters["up"])


def _of_interval(key: str) -> Callable[[Facts], Iterable[tuple[tuple[str, ...], float]]]:
    return lambda facts: [((name,), value) for name, value in facts["interval"].get(key, {}).items()]


PREFIX = "stream_rnn_"
LATENCY = f"{PREFIX}latency_seconds"

OUTCOMES = ("stepped", "duplicate", "late", "failed")
"""What becomes of a sample: exactly one of these, so that their sum is the samples that were decided on."""

PACKETS = ("taken", "duplicate", "late")
"""What becomes of a packet of spikes: exactly one of these."""

METRICS = (
    Metric("predictions", "counter", "Predictions made.", (), _one("predictions")),
    Metric(
        "samples",
        "counter",
        f"Samples by what became of them, each one of {', '.join(OUTCOMES)}.",
        ("outcome",),
        _outcomes,
    ),
    Metric(
        "packets",
        "counter",
        f"Packets of spikes by what became of them, each one of {', '.join(PACKETS)}.",
        ("outcome",),
        _of_packets(*PACKETS),
    ),
    Metric(
        "packets_odd",
        "counter",
        "Packets taken that overlapped what had been told, and gaps in time between packets.",
        ("what",),
        _of_packets("overlapping", "gaps"),
    ),
    Metric("spikes", "counter", "Spikes that came in packets.", (), lambda f: [((), f["packets"]["spikes"])]),
    Metric(
        "spikes_left_out",
        "counter",
        "Spikes told before or too late (repeated), or in rows not wholly covered (lost).",
        ("why",),
        _of_packets("repeated", "lost"),
    ),
    Metric(
        "refused", "counter", "Samples that could not be stepped, by reason.", ("reason",), _by("refused")
    ),
    Metric("held", "gauge", "Samples that wait now for an earlier one.", (), _of_samples("waiting")),
    Metric("gaps", "counter", "Times that samples were missing.", (), _of_samples("gaps")),
    Metric("missed", "counter", "Samples missing in the gaps.", (), _of_samples("missed")),
    Metric("filled", "counter", "Steps made in place of missing samples.", (), _of_samples("filled")),
    Metric("imputed", "counter", "Stepped samples with features filled in.", (), _of_samples("imputed")),
    Metric("resets", "counter", "Times that a hidden state started anew.", (), _of_samples("resets")),
    Metric("deadline_misses", "counter", "Samples stepped after their deadline.", (), _of_samples("stale")),
    Metric("withheld", "counter", "Predictions not published: too late.", (), _of_samples("withheld")),
    Metric(
        "declined", "counter", "Samples not stepped because their stream was paused.", (), _one("declined")
    ),
    Metric("dropped", "counter", "Messages that the inbox gave up.", (), _one("dropped")),
    Metric("unrecorded", "counter", "Entries that no recording took.", (), _one("unrecorded")),
    Metric(
        "ahead",
        "counter",
        "Steps prepared before their sample was due, and samples that met one.",
        ("what",),
        _by("ahead"),
    ),
    Metric(
        "truths",
        "counter",
        "Truths by what became of them, each one of taken, unmatched, refused.",
        ("outcome",),
        _of_interval("truths"),
    ),
    Metric(
        "truth_outputs",
        "counter",
        "Outputs whose truth lay inside or outside of their interval.",
        ("where",),
        _of_interval("outputs"),
    ),
    Metric(
        "state",
        "counter",
        "With [state]: checkpoints, states put away, restored, replayed (messages of the journal), forgotten "
        "(streams silent longest, beyond state.max_streams), answered_again (samples that came again); "
        "failures, unreadable, torn, unjournaled, unnumbered (sent again without seq).",
        ("what",),
        lambda f: [((name,), value) for name, value in f["state"].items() if name != "unacknowledged"],
    ),
    Metric(
        "unacknowledged",
        "gauge",
        "Messages that wait for a checkpoint to be acknowledged.",
        (),
        lambda f: [((), f["state"].get("unacknowledged", 0))],
    ),
    Metric(
        "evicted",
        "counter",
        "Streams forgotten, or with [state] put away, because they were idle.",
        (),
        _one("evicted"),
    ),
    Metric("transport", "counter", "What each way in counts.", ("transport", "counter"), _transports),
    Metric("transport_up", "gauge", "1 while messages can arrive this way.", ("transport",), _up),
    Metric("streams", "gauge", "Streams with a hidden state now.", (), _one("streams")),
    Metric("waiting", "gauge", "Messages in the inbox now.", (), _one("waiting")),
    Metric(
        "paused",
        "gauge",
        "Streams paused now; all of them count as one.",
        (),
        lambda f: [((), len(f["paused"]))],
    ),
    Metric("uptime_seconds", "gauge", "Seconds since the start.", (), _one("uptime_s")),
)
"""Every metric but the latency histogram and the two that carry text."""


class DaemonCollector(Collector):
    """Reads a daemon's numbers when they are asked for.

    Args:
        facts: Gives what `status` tells.
        groups: Gives the histograms since the start, by group and stage.
        about: Text of the two information metrics: `build` and `model`, each with its labels.
    """

    def __init__(
        self,
        facts: Callable[[], Facts],
        groups: Callable[[], Mapping[str, Stages]],
        about: Callable[[], Mapping[str, Mapping[str, str]]],
    ) -> None:
        self._facts, self._groups, self._about = facts, groups, about

    def collect(self) -> Iterator[Family]:
        """Every metric."""
        facts: Facts = msgspec.to_builtins(self._facts())
        for metric in METRICS:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(PREFIX + metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.read(facts):
                family.add_metric(labels, value)
            yield family
        yield _latency(self._groups())
        for name, values in self._about().items():
            info = InfoMetricFamily(PREFIX + name, INFORMATION[name])
            info.add_metric((), dict(values))
            yield info


INFORMATION = {
    "build": "Versions and processor: what the bits of a prediction depend on beside the model.",
    "model": "The model that is served.",
}


def exposition_of(
    facts: Callable[[], Facts],
    groups: Callable[[], Mapping[str, Stages]],
    about: Callable[[], Mapping[str, Mapping[str, str]]],
) -> Callable[[], Write]:
    """What reads a daemon's numbers, and those of its process and Python, for Prometheus to scrape.

    Reading belongs on the thread that counts. What it gives writes the text of what was read, in any thread:
    with many groups that takes longer than reading, and samples need not wait for it.

    Args:
        facts: Gives what `status` tells.
        groups: Gives the histograms since the start, by group and stage.
        about: Text of the two information metrics.
    """
    registry = CollectorRegistry()
    registry.register(DaemonCollector(facts, groups, about))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return lambda: partial(generate_latest, _Read(list(registry.collect())))


class _Read(Collector):
    """Families that were read before."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


def _latency(groups: Mapping[str, Stages]) -> HistogramMetricFamily:
    told = "Time a sample takes, by stage: " + "; ".join(f"{s}, {what}" for s, what in STAGES.items()) + "."
    family = HistogramMetricFamily(LATENCY, told, labels=("group", "stage"))
    for group, stages in groups.items():
        for stage, histogram in stages.items():
            family.add_metric((group, stage), buckets_of(histogram), sum_value=histogram.total_ns / 1e9)
    return family


def buckets_of(histogram: Histogram) -> list[tuple[str, float]]:
    """How many durations do not exceed each edge, true to the histogram's three digits."""
    _ = histogram.count  # what waits to be counted is counted now
    between = np.add.reduceat(histogram.counts, _STARTS)
    return list(zip(_NAMES, np.cumsum(between).tolist(), strict=True))
