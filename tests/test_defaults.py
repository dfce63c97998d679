"""Options that nobody gave are chosen from the training rows alone, with a reason for each."""

import msgspec
import numpy as np
import pytest

from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, recording_of
from stream_rnn.sample import F32
from stream_rnn.training.defaults import choices, half_time_s, skewness
from stream_rnn.training.options import Options

RNG = np.random.default_rng(0)


def recording_with(x: F32, y: F32, rate_hz: float, recordings: int = 1) -> Recording:
    numbers = np.arange(len(x)) * recordings // len(x)
    arrays = {"x": x, "y": y, "rate_hz": np.array(rate_hz), "recording": numbers}
    return recording_of(arrays, name="made", where="made")


def moving(T: int, keeps: float, columns: int = 1) -> F32:
    """Targets whose autocorrelation falls by `keeps` a row."""
    y = np.zeros((T, columns))
    for t in range(1, T):
        y[t] = keeps * y[t - 1] + RNG.standard_normal(columns)
    return y.astype(np.float32)


def chosen(*recordings: Recording) -> dict[str, object]:
    return {choice.name: choice.value for choice in choices(list(recordings))}


def test_counts_are_summed_as_they_are() -> None:
    assert chosen(simulate(60, 8, seed=1))["logarithm"] is False


def test_skewed_positive_samples_get_a_logarithm() -> None:
    x = np.exp(2 * RNG.standard_normal((2000, 4))).astype(np.float32)
    found = chosen(recording_with(x, moving(2000, 0.9), 50.0))
    assert found["logarithm"] is True
    assert "statistics" not in found


def test_raw_electrodes_are_described_over_a_bin() -> None:
    x = RNG.standard_normal((4000, 4)).astype(np.float32)
    found = chosen(recording_with(x, moving(4000, 0.99), 1000.0))
    assert found["statistics"] == ("mean_absolute", "waveform_length")
    assert chosen(recording_with(x, moving(4000, 0.99), 100.0)) | {"logarithm": False} == chosen(
        recording_with(x, moving(4000, 0.99), 100.0)
    )


def test_a_bin_is_a_fifth_of_the_time_in_which_targets_lose_half_of_themselves() -> None:
    keeps = 0.5 ** (1 / 20)  # half after 20 rows: 200 ms
    recording = recording_with(np.ones((20000, 2), np.float32), moving(20000, keeps, 3), 100.0)
    assert half_time_s(recording) == pytest.approx(0.2, abs=0.04)
    assert chosen(recording)["bin_ms"] in {30.0, 40.0, 50.0}


def test_a_bin_is_at_least_a_sample() -> None:
    recording = recording_with(np.ones((500, 2), np.float32), moving(500, 0.0), 5.0)
    assert chosen(recording)["bin_ms"] == 200.0


@pytest.mark.parametrize(("recordings", "prior_s"), [(1, 0.0), (3, 2.0)])
def test_several_recordings_are_normalised_by_themselves_too(recordings: int, prior_s: float) -> None:
    x = np.ones((600, 2), np.float32)
    assert chosen(recording_with(x, moving(600, 0.9), 50.0, recordings))["prior_s"] == prior_s


def test_windows_are_no_longer_than_the_recordings() -> None:
    x = np.ones((600, 2), np.float32)
    assert chosen(recording_with(x, moving(600, 0.9), 100.0, 6))["window_s"] == 1.0


def test_long_recordings_are_seen_less_often() -> None:
    x = np.ones((90_000, 1), np.float32)
    assert chosen(recording_with(x, moving(90_000, 0.9), 10.0))["epochs"] == 21  # 120 minutes


def test_test_rows_change_nothing() -> None:
    cortex = simulate(60, 8, seed=1)
    x, y = cortex.x.copy(), cortex.y.copy()
    x[cortex.is_test], y[cortex.is_test] = -1e6, np.nan
    assert choices([msgspec.structs.replace(cortex, x=x, y=y)]) == choices([cortex])


def test_every_choice_is_an_option_with_a_reason() -> None:
    found = choices([simulate(60, 8, seed=1)])
    assert all(choice.reason for choice in found)
    Options(seed=0, **{choice.name: choice.value for choice in found})  # type: ignore[arg-type]


def test_missing_samples_do_not_hide_what_samples_are() -> None:
    cortex = simulate(60, 8, seed=1)
    x = cortex.x.copy()
    x[::7, 2] = np.nan
    assert choices([msgspec.structs.replace(cortex, x=x)]) == choices([cortex])


def test_skewness_is_that_of_the_books() -> None:
    assert skewness(np.array([0.0, 0.0, 0.0, 4.0, np.nan])) == pytest.approx(2 / 3**0.5)
    assert np.isnan(skewness(np.array([1.0, 1.0])))
