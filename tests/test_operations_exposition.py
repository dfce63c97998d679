"""What Prometheus reads is what the daemon counted, and never falls while it runs."""

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stream_rnn.latency.histogram import Histogram, bucket_of
from stream_rnn.latency.stages import STAGES, Latency, Stages
from stream_rnn.operations.exposition import EDGES_S, METRICS, OUTCOMES, PREFIX, buckets_of, exposition_of
from stream_rnn.session.rules import Counters, Packets

SAMPLES = {name: 100 + i for i, name in enumerate(Counters.__struct_fields__)}
PACKETS = {name: 200 + i for i, name in enumerate(Packets.__struct_fields__)}
FACTS = {
    "predictions": 7,
    "samples": Counters(**SAMPLES),
    "packets": Packets(**PACKETS),
    "refused": {"width": 3, 'odd "name"\n': 4},
    "declined": 5,
    "dropped": 6,
    "unrecorded": 8,
    "ahead": {"prepared": 5, "met": 4},
    "interval": {"truths": {"taken": 3, "refused": 1}, "outputs": {"inside": 5, "outside": 1}},
    "state": {"checkpoints": 4, "restored": 2, "unacknowledged": 6},
    "evicted": 9,
    "transports": {"mqtt": {"up": True, "received": 10}, "tcp": {"up": False, "received": 11}},
    "streams": 12,
    "waiting": 13,
    "paused": {"left"},
    "uptime_s": 14.5,
}
ABOUT = {"build": {"numba": "1"}, "model": {"hash": "abc"}}


def scraped(groups: Mapping[str, Stages]) -> dict[tuple[str, ...], float]:
    """Every value by name and label values, the labels in alphabetical order."""
    text = exposition_of(lambda: FACTS, lambda: groups, lambda: ABOUT)()().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def values() -> dict[tuple[str, ...], float]:
    return scraped(Latency().groups)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (("predictions_total",), 7),
        (("samples_total", "stepped"), SAMPLES["stepped"]),
        (("samples_total", "late"), SAMPLES["late"]),
        (("packets_total", "late"), PACKETS["late"]),
        (("spikes_total",), PACKETS["spikes"]),
        (("spikes_left_out_total", "lost"), PACKETS["lost"]),
        (("refused_total", "width"), 3),
        (("refused_total", 'odd "name"\n'), 4),
        (("held",), SAMPLES["waiting"]),
        (("deadline_misses_total",), SAMPLES["stale"]),
        (("withheld_total",), SAMPLES["withheld"]),
        (("declined_total",), 5),
        (("dropped_total",), 6),
        (("unrecorded_total",), 8),
        (("ahead_total", "met"), 4),
        (("truths_total", "taken"), 3),
        (("truth_outputs_total", "outside"), 1),
        (("state_total", "restored"), 2),
        (("unacknowledged",), 6),
        (("evicted_total",), 9),
        (("transport_total", "received", "mqtt"), 10),
        (("transport_total", "received", "tcp"), 11),
        (("transport_up", "mqtt"), 1),
        (("transport_up", "tcp"), 0),
        (("streams",), 12),
        (("waiting",), 13),
        (("paused",), 1),
        (("uptime_seconds",), 14.5),
        (("build_info", "1"), 1),
        (("model_info", "abc"), 1),
    ],
)
def test_value_is_told(values: dict[tuple[str, ...], float], name: tuple[str, ...], value: float) -> None:
    assert values[PREFIX + name[0], *name[1:]] == value


def test_every_count_of_a_session_is_told_once(values: dict[tuple[str, ...], float]) -> None:
    for counts in (SAMPLES, PACKETS):
        told = [value for value in values.values() if value in counts.values()]
        assert sorted(told) == sorted(counts.values())


def test_outcomes_exclude_each_other() -> None:
    samples = next(m for m in METRICS if m.name == "samples")
    facts = msgspec.to_builtins(FACTS)
    assert dict(samples.read(facts)) == {(name,): SAMPLES[name] for name in OUTCOMES}


def test_no_name_is_told_twice() -> None:
    assert len({m.name for m in METRICS}) == len(METRICS)


def test_process_and_python_are_told(values: dict[tuple[str, ...], float]) -> None:
    names = {name for name, *_ in values}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"} <= names


def test_what_was_read_does_not_change_until_it_is_written() -> None:
    latency = Latency()
    write = exposition_of(lambda: FACTS, lambda: latency.groups, lambda: ABOUT)()
    latency.of("a")["step"].record(1000)
    latency.roll()
    line = 'stream_rnn_latency_seconds_count{group="all",stage="step"}'
    assert f"{line} 0.0\n" in write().decode()


@given(values=st.lists(st.integers(0, 20 * 10**9) | st.sampled_from([round(e * 1e9) for e in EDGES_S])))
def test_buckets_are_the_brute_force_count(values: list[int]) -> None:
    histogram = Histogram()
    histogram.record_many(values)
    expected = [sum(bucket_of(v) <= bucket_of(round(edge * 1e9)) for v in values) for edge in EDGES_S]
    assert [count for _, count in buckets_of(histogram)] == [*expected, len(values)]


@given(values=st.lists(st.integers(0, 20 * 10**9)))
def test_buckets_count_what_waits_to_be_counted(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    assert buckets_of(histogram)[-1] == ("+Inf", len(values))


def test_latency_is_told_by_group_and_stage_and_never_falls() -> None:
    latency = Latency(["left-*"])
    before: dict[tuple[str, ...], float] = {}
    rng = np.random.default_rng(1)
    for interval in range(1, 4):
        for stage in STAGES:
            latency.of("left-1")[stage].record_many(rng.integers(0, 10**9, 50))
        latency.roll()
        now = {name: v for name, v in scraped(latency.groups).items() if "latency" in name[0]}
        assert all(now[name] >= value for name, value in before.items())
        for stage in STAGES:
            assert now["stream_rnn_latency_seconds_count", "left-*", stage] == 50 * interval
            assert now["stream_rnn_latency_seconds_bucket", "left-*", "1.0", stage] == 50 * interval
            assert now["stream_rnn_latency_seconds_count", "other", stage] == 0
        before = now
    total_ns = latency.groups["left-*"]["step"].total_ns
    assert before["stream_rnn_latency_seconds_sum", "left-*", "step"] == pytest.approx(total_ns / 1e9)
