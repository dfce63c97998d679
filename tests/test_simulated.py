"""The simulated cortex moves and fires as its references say, and repeats itself to the bit."""

import itertools

import numpy as np
import pytest

from stream_rnn.errors import ConfigError
from stream_rnn.recordings.simulated import Activity, SimulatedCortex, minimum_jerk, reaches, simulate
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32


def activity(bins: int, **changes: int) -> Activity:
    return SimulatedCortex(**{"units": 8, "rate_hz": 100, "seed": 7, **changes}).take(bins)


def cut(cortex: SimulatedCortex, lengths: list[int]) -> tuple[F32, F32]:
    pieces = [cortex.take(length) for length in lengths]
    return np.concatenate([piece.x for piece in pieces]), np.concatenate([piece.y for piece in pieces])


def test_same_seed_gives_same_counts() -> None:
    np.testing.assert_array_equal(activity(1000).x, activity(1000).x)


def test_other_seed_gives_other_animal() -> None:
    one, other = (SimulatedCortex(units=8, rate_hz=100, seed=seed) for seed in (7, 8))
    assert (one.tuning.preferred != other.tuning.preferred).all()
    assert (one.take(1000).x != other.take(1000).x).any()


def test_other_day_keeps_the_units_and_changes_the_reaches() -> None:
    one, other = (SimulatedCortex(units=8, rate_hz=100, seed=7, day=day) for day in (0, 1))
    np.testing.assert_array_equal(one.tuning.preferred, other.tuning.preferred)
    np.testing.assert_array_equal(one.tuning.depth, other.tuning.depth)
    assert (one.take(1000).target != other.take(1000).target).any()


@pytest.mark.parametrize("lengths", [[1] * 1000, [7, 93, 400, 1, 499], [999, 1]])
def test_chunks_equal_one_piece(lengths: list[int]) -> None:
    whole = activity(1000)
    x, y = cut(SimulatedCortex(units=8, rate_hz=100, seed=7), lengths)
    np.testing.assert_array_equal(x, whole.x)
    np.testing.assert_array_equal(y, whole.y)


def test_steps_equal_the_recording() -> None:
    recording = simulate(5, 8, seed=7)
    cortex = SimulatedCortex(units=8, rate_hz=100, seed=7)
    for x, y in zip(recording.x, recording.y, strict=True):
        stepped_x, stepped_y = cortex.step()
        np.testing.assert_array_equal(stepped_x, x)
        np.testing.assert_array_equal(stepped_y, y)


def test_long_recording_equals_one_piece() -> None:
    bins = 20_000  # more than two blocks
    np.testing.assert_array_equal(simulate(bins / 100, 8, seed=7).x, activity(bins).x)


def test_reaches_follow_minimum_jerk() -> None:
    # The least jerk is the quintic at rest and without acceleration at both ends: six conditions, six powers.
    ends = np.array(
        [[0.0**n, n * 0.0 ** max(n - 1, 0), n * (n - 1) * 0.0 ** max(n - 2, 0)] for n in range(6)]
    )
    powers = np.arange(6)
    other_end = np.array([powers**0, powers, powers * (powers - 1)]).T
    quintic = np.linalg.solve(np.concatenate([ends, other_end], axis=1).T, [0, 0, 0, 1, 0, 0])
    s, _ = minimum_jerk(80)
    np.testing.assert_allclose(s, np.polynomial.polynomial.polyval(np.arange(80) / 80, quintic), atol=1e-12)


def test_reach_is_straight_and_its_peak_speed_is_fifteen_eighths_of_the_mean() -> None:
    rows = next(reaches(np.random.default_rng(7), 1000.0))
    position, velocity, target = rows[:, :2], rows[:, 2:4], rows[0, 4:]
    speed = np.hypot(*velocity.T)
    seconds = (np.count_nonzero(speed) + 1) / 1000  # the first row of a reach is still at rest
    np.testing.assert_allclose(speed.max(), 15 / 8 * np.hypot(*target) / seconds, rtol=1e-3)
    np.testing.assert_allclose(position[:, 0] * target[1], position[:, 1] * target[0], atol=1e-9)


def test_velocity_is_the_slope_of_position() -> None:
    path = np.concatenate(list(itertools.islice(reaches(np.random.default_rng(7), 1000.0), 5)))
    slope = (path[2:, :2] - path[:-2, :2]) * 1000 / 2
    np.testing.assert_allclose(slope, path[1:-1, 2:4], atol=0.05)


def test_hand_arrives_and_rests_before_the_target_changes() -> None:
    moved = activity(3000)
    changes = np.flatnonzero((moved.target[1:] != moved.target[:-1]).any(axis=1))
    assert len(changes) >= 15
    np.testing.assert_array_equal(moved.position[changes], moved.target[changes])
    for back in range(10):  # the least dwell, in bins
        np.testing.assert_array_equal(moved.y[changes - back], 0)


def test_hand_stays_in_the_workspace() -> None:
    moved = activity(6000)
    assert np.abs(moved.position).max() <= 10.0
    assert 20.0 < np.hypot(*moved.y.T).max() < 80.0


def test_cursor_and_target_are_those_of_the_last_bin() -> None:
    cortex = SimulatedCortex(units=8, rate_hz=100, seed=7)
    moved = cortex.take(130)
    np.testing.assert_array_equal(cortex.position, moved.position[-1])
    np.testing.assert_array_equal(cortex.target, moved.target[-1])


def test_units_fire_most_in_their_preferred_direction() -> None:
    cortex = SimulatedCortex(units=32, rate_hz=100, seed=7)
    moved = cortex.take(60_000)
    x, y = moved.x[:-10], moved.y[10:]  # the firing leads by about ten bins
    fit, *_ = np.linalg.lstsq(np.column_stack([y, np.ones(len(y))]), x)
    fitted = fit[:2] / np.linalg.norm(fit[:2], axis=0)
    cosine = (fitted.T * cortex.tuning.preferred).sum(axis=1)
    clear = cortex.tuning.depth > 0.2
    assert clear.sum() >= 10
    assert cosine[clear].min() > np.cos(np.radians(15))


def test_firing_leads_the_hand_by_a_tenth_of_a_second() -> None:
    cortex = SimulatedCortex(units=64, rate_hz=100, seed=7)
    moved = cortex.take(60_000)
    # The population vector, each unit's vote along its preferred direction, is closest to the later velocity.
    vector = (moved.x - moved.x.mean(axis=0)) @ cortex.tuning.preferred
    likeness = [float((vector[: -lead or None] * moved.y[lead:]).mean()) for lead in range(31)]
    assert 8 <= int(np.argmax(likeness)) <= 12


def test_resting_units_fire_at_their_baseline_like_poisson() -> None:
    cortex = SimulatedCortex(units=64, rate_hz=100, seed=7)
    moved = cortex.take(60_000)
    still = (
        np.convolve(np.hypot(*moved.y.T), np.ones(16), mode="valid") == 0
    )  # 15 bins ahead: the longest lead
    counts = moved.x[: len(still)][still]
    baseline = cortex.tuning.baseline_hz / 100
    np.testing.assert_allclose(counts.mean(axis=0), baseline, rtol=0.15)
    np.testing.assert_allclose(counts.var(axis=0) / counts.mean(axis=0), 1.0, atol=0.1)


def test_rates_scale_with_the_bin() -> None:
    slow, fast = simulate(120, 16, seed=7, rate_hz=50), simulate(120, 16, seed=7, rate_hz=1000)
    assert fast.x.shape == (120_000, 16)
    np.testing.assert_allclose(slow.x.mean() * 50, fast.x.mean() * 1000, rtol=0.05)


def test_recording_names_its_columns() -> None:
    recording = simulate(2, 12, seed=7, day=3)
    assert recording.x_names[:2] == ("unit00", "unit01")
    assert recording.y_names == ("velocity_x", "velocity_y")
    assert recording.y_units == ("cm/s", "cm/s")
    assert recording.spans() == [("simulated_seed7_day3", 0, 200)]
    assert int(recording.is_test.argmax()) == 160


def test_linear_decoder_reaches_the_accuracy_of_a_good_recording() -> None:
    recording = simulate(300, 64, seed=7)
    r2 = ridge_r2(recording)
    assert 0.78 < r2 < 0.93


def ridge_r2(recording: Recording) -> float:
    """Mean R2 on the test rows of a ridge over 15 bins of 20 ms."""
    X = recording.x.reshape(-1, 2, recording.x.shape[1]).sum(axis=1, dtype=np.float64)
    Y, test = recording.y[1::2].astype(np.float64), recording.is_test[1::2]
    lagged = [np.vstack([np.zeros((lag, X.shape[1])), X[: len(X) - lag]]) for lag in range(15)]
    F = np.hstack([*lagged, np.ones((len(X), 1))])
    train = F[~test]
    W = np.linalg.solve(train.T @ train + 300 * np.eye(F.shape[1]), train.T @ Y[~test])
    left = ((Y[test] - F[test] @ W) ** 2).sum(axis=0)
    return float((1 - left / ((Y[test] - Y[test].mean(axis=0)) ** 2).sum(axis=0)).mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 0}, "simulated cortex: expected 1 unit or more, got 0"),
        ({"rate_hz": 5}, "simulated cortex: expected rate_hz of 10 or more, got 5"),
        ({"seed": -1}, "simulated cortex: expected seed and day of 0 or more, got -1 and 0"),
    ],
)
def test_impossible_cortex_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        activity(1, **changes)
    assert str(caught.value) == message


def test_taking_no_bins_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        activity(0)
    assert str(caught.value) == "simulated cortex: expected 1 bin or more, got 0"


@pytest.mark.parametrize(
    ("seconds", "got"), [(0.0, "0"), (-1.0, "-1"), (0.004, "0.004"), (float("inf"), "inf")]
)
def test_recording_of_no_time_is_refused(seconds: float, got: str) -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(seconds, 8, seed=7)
    assert str(caught.value) == f"simulated cortex: expected time for 1 bin or more, got {got} s"
