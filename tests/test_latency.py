"""Histograms: percentiles true to three digits, whatever was recorded."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.latency.hgrm import hgrm
from stream_rnn.latency.histogram import BATCH, MAX_NS, Counted, Histogram
from stream_rnn.latency.stages import Latency, Taken


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(
    values=st.lists(st.integers(0, MAX_NS), min_size=1, max_size=300),
    percent=st.sampled_from([50, 90, 99, 99.9, 100]),
)
def test_percentile_is_the_sorted_value_to_three_digits(values: list[int], percent: float) -> None:
    exact = int(np.percentile(values, percent, method="inverted_cdf"))
    assert filled(values).percentile_ns(percent) == pytest.approx(exact, rel=5e-4)


def test_more_than_a_batch_is_counted_once_each() -> None:
    histogram = filled(list(range(2 * BATCH + 10)))
    assert histogram.count == 2 * BATCH + 10
    assert histogram.max_ns == 2 * BATCH + 9


def test_added_histograms_equal_one_of_everything() -> None:
    values = [int(v) for v in np.random.default_rng(1).lognormal(12, 1, 2000)]
    both, other = filled(values[:1200]), filled(values[1200:])
    both.add(other)
    assert both.summary() == filled(values).summary()


def test_negative_and_endless_durations_count_at_the_ends() -> None:
    histogram = filled([-5, MAX_NS * 10])
    assert (histogram.percentile_ns(1), histogram.max_ns) == (0, MAX_NS)


def test_summary_is_in_microseconds() -> None:
    summary = filled([1000, 2000, 3000]).summary()
    assert (summary.count, summary.mean_us, summary.p50_us, summary.max_us) == (3, 2.0, 2.0, 3.0)


def test_empty_and_cleared_histograms_say_nothing() -> None:
    histogram = filled([5, 6])
    histogram.clear()
    assert histogram.summary() == Histogram().summary()
    assert histogram.percentile_ns(50) == 0


@given(values=st.lists(st.integers(0, MAX_NS), max_size=100))
def test_what_travels_comes_back_whole(values: list[int]) -> None:
    histogram = filled(values)
    travelled = msgspec.json.decode(msgspec.json.encode(histogram.counted()), type=Counted)
    assert Histogram.of(travelled).summary() == histogram.summary()


def hgrm_rows(text: str) -> list[list[float]]:
    return [[float(field) for field in line.split()] for line in text.splitlines()[2:] if line[0] != "#"]


def test_hgrm_is_what_hdrhistograms_plotters_read() -> None:
    text = hgrm(filled([i * 1000 for i in range(1, 1001)]))
    lines = text.splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = hgrm_rows(text)
    assert rows[0] == [1.0, 0.0, 1, 1.0]
    (middle,) = (row for row in rows if row[1] == 0.5)
    assert middle == [pytest.approx(500, rel=5e-4), 0.5, 500, 2.0]
    assert rows[-1] == [1000.0, 1.0, 1000]
    assert lines[-3].startswith("#[Mean    =      500.500, StdDeviation   =      288.")
    assert lines[-2] == "#[Max     =     1000.000, Total count    =         1000]"


@given(values=st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_hgrm_rises_to_the_last_duration(values: list[int]) -> None:
    rows = hgrm_rows(hgrm(filled(values)))
    percents, counts = [row[1] for row in rows], [row[2] for row in rows]
    assert (percents, counts) == (sorted(percents), sorted(counts))
    assert rows[-1] == [round(max(values) / 1000, 3), 1.0, len(values)]


def test_hgrm_of_nothing_says_so() -> None:
    assert hgrm_rows(hgrm(Histogram())) == []


def test_stream_is_measured_in_the_first_group_that_matches() -> None:
    latency = Latency(["left-*", "*-hand"])
    for stream in ("left-hand", "right-hand", "foot", "left-foot"):
        latency.of(stream)["step"].record(2_000_000)
    times = latency.roll()
    assert {group: stages["step"].count for group, stages in times.groups.items()} == {
        "left-*": 2,
        "*-hand": 1,
        "other": 1,
    }
    assert (times.stages["step"].count, times.step_s) == (4, 0.008)


def test_interval_begins_anew_and_the_whole_goes_on() -> None:
    latency = Latency()
    for _ in range(3):
        latency.of("a")["step"].record(1000)
        assert latency.roll().stages["step"].count == 1
    assert latency.whole().stages["step"].count == 3
    assert latency.roll().stages == {}


@pytest.mark.parametrize("patterns", [(), ("left-*",)])
def test_ways_are_counted_each_for_itself_or_together(patterns: tuple[str, ...]) -> None:
    latency = Latency(patterns)
    latency.took(Taken("left-hand", 1000, 3000, 8000, 9000))
    latency.took_together(["left-hand", "foot"], [1000, 2000], 3000, 7000, 9000)
    latency.took_together([], [], 0, 0, 0)
    times = latency.roll()
    assert {name: (stage.count, stage.mean_us) for name, stage in times.stages.items()} == {
        "queue": (3, 1.667),
        "step": (3, 3.0),
        "total": (3, 7.667),
    }
    assert [stages["step"].count for stages in times.groups.values()] == ([2, 1] if patterns else [])
