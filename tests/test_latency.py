"""Histograms: percentiles true to three digits, whatever was recorded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.latency.histogram import BATCH, MAX_NS, Histogram


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
