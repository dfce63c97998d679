"""Arrays at hand become a recording; spike times become counts, each spike in exactly one row."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stream_rnn
from stream_rnn.errors import RecordingError
from stream_rnn.recordings.table import recording_of


def naive(
    times: list[float], units: list[int], rate_hz: float, rows: int, D: int, start_s: float
) -> np.ndarray:
    counts, rate = np.zeros((rows, D), dtype=np.float32), Fraction(rate_hz)
    edges_ns = [rounded(start_s * 1e9) + rounded(t * 10**9 / rate) for t in range(rows + 1)]
    for time, unit in zip(times, units, strict=True):
        for t in range(rows):
            if edges_ns[t] <= rounded(time * 1e9) < edges_ns[t + 1]:
                counts[t, unit] += 1
    return counts


def rounded(number: float | Fraction) -> int:
    return math.floor(Fraction(number) + Fraction(1, 2))


RATES = st.sampled_from([1.0, 3.0, 30.0, 50.0, 100.0, 1000.0 / 3, 30_000.0])
STARTS = st.sampled_from([0.0, 0.1, -2.3, 1234.567])


@given(
    rate_hz=RATES,
    start_s=STARTS,
    rows=st.integers(0, 20),
    places=st.lists(st.tuples(st.floats(-3, 24), st.booleans(), st.integers(0, 3)), max_size=30),
)
def test_counts_are_those_of_a_loop(
    rate_hz: float, start_s: float, rows: int, places: list[tuple[float, bool, int]]
) -> None:
    times = [start_s + (np.floor(place) if border else place) / rate_hz for place, border, _ in places]
    units = [unit for _, _, unit in places]
    counts = stream_rnn.bin_spikes(
        times, np.array(units, dtype=np.int64), rate_hz, channels=4, rows=rows, start_s=start_s
    )
    np.testing.assert_array_equal(counts, naive(times, units, rate_hz, rows, 4, start_s))


@given(rate_hz=RATES, start_s=STARTS, places=st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_spike_on_a_border_begins_its_row_and_none_is_lost(
    rate_hz: float, start_s: float, places: list[int]
) -> None:
    times = [start_s + place / rate_hz for place in places]
    counts = stream_rnn.bin_spikes(times, [0] * len(places), rate_hz, start_s=start_s)
    assert len(counts) == max(places) + 1
    np.testing.assert_array_equal(counts[:, 0], np.bincount(places))


@given(moved=st.integers(1, 50))
def test_later_spikes_change_no_earlier_row(moved: int) -> None:
    early, late = [0.001, 0.04, 0.041], [0.05, 0.07 + moved / 100]
    counts = stream_rnn.bin_spikes(early + late, [0, 1, 0, 0, 1], 100)
    np.testing.assert_array_equal(counts[:5], stream_rnn.bin_spikes(early, [0, 1, 0], 100))


def test_no_spikes_are_no_rows_or_silent_ones() -> None:
    assert stream_rnn.bin_spikes([], [], 100, channels=3).shape == (0, 3)
    assert stream_rnn.bin_spikes([], [], 100, channels=3, rows=5).sum() == 0


@pytest.mark.parametrize(
    ("times", "units", "rate_hz", "message"),
    [
        ([0.1, 0.2], [0], 100, r"expected a unit for each time, got \(1,\) for \(2,\)"),
        ([0.1, np.nan], [0, 1], 100, "expected finite times, got nan at 1"),
        ([0.1], [0.5], 100, "expected units as whole numbers, got float64"),
        ([0.1, 0.2], [0, 7], 100, "expected units from 0 to 2, got 7 at 1"),
        ([0.1], [0], 0, "expected rate_hz above 0, up to one a nanosecond, got 0"),
        ([0.1], [0], 2e9, r"expected rate_hz above 0, up to one a nanosecond, got 2e\+09"),
        ([-1e10], [0], 100, r"expected times up to 9e\+09 s, got -1e\+10"),
    ],
)
def test_spikes_that_do_not_fit_are_named(
    times: list[float], units: list[float], rate_hz: float, message: str
) -> None:
    with pytest.raises(RecordingError, match=f"^spikes: {message}$"):
        stream_rnn.bin_spikes(times, units, rate_hz, channels=3)


def test_recording_of_arrays_is_that_of_a_file() -> None:
    x, y = np.arange(30.0).reshape(10, 3), np.ones((10, 1))
    made = stream_rnn.recording(
        x, y, 50, name="day", y_units="°", recordings=[0] * 5 + [1] * 5, recording_names=["walk", "sit"]
    )
    numbers = np.array([0] * 5 + [1] * 5)
    arrays = {"x": x, "y": y, "rate_hz": np.array(50), "recording": numbers}
    other = recording_of(arrays, name="day", where="day")
    np.testing.assert_array_equal(made.is_test, other.is_test)
    np.testing.assert_array_equal(made.x, other.x)
    assert (made.y_units, made.recording_names) == (("°",), ("walk", "sit"))


def test_arrays_that_do_not_fit_are_named() -> None:
    with pytest.raises(RecordingError, match=r"^recording day: expected y of 10 rows, as x has, got 9$"):
        stream_rnn.recording(np.ones((10, 2)), np.ones((9, 1)), 50, name="day")
