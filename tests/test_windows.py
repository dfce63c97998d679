"""Features and windows: what training sees is what the daemon will see, and nothing of the test."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.errors import RecordingError
from stream_rnn.kernels import network
from stream_rnn.kernels.engine import OWN_AT, make_engine
from stream_rnn.kernels.plan import state_size
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import Missing, Preprocess
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, Span, recording_of
from stream_rnn.sample import F32
from stream_rnn.stepper import FEATURES_AT
from stream_rnn.training.windows import Windows, features, gather, runs, scale, shifted, warmed
from tests.small import small_model


def recording_with(rows: int, *, borders: tuple[int, ...] = (), width: int = 3, seed: int = 0) -> Recording:
    """Counts whose first column is the row number, in recordings cut at `borders`."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(2, (rows, width)).astype(np.float32)
    x[:, 0] = np.arange(rows)
    number = np.searchsorted(np.array(borders), np.arange(rows), side="right")
    arrays = {"x": x, "y": x[:, :1] * 2, "rate_hz": np.array(100.0), "recording": number.astype(np.int32)}
    return recording_of(arrays, name="made", where="made")


def test_rows_are_split_within_each_recording() -> None:
    data = gather([recording_with(100, borders=(60,))], horizon=0, validation=0.25)
    assert runs(data.train, data.spans) == [(0, 36), (60, 84)]
    assert runs(data.validation, data.spans) == [(36, 48), (84, 92)]


def test_several_files_are_one_data_set_with_borders_between() -> None:
    data = gather([recording_with(50), recording_with(30)], horizon=0, validation=0.1)
    assert [(span.start, span.stop) for span in data.spans] == [(0, 50), (50, 80)]
    assert data.x.shape == (80, 3)


def test_horizon_shifts_targets_within_each_recording() -> None:
    data = gather([recording_with(20, borders=(10,))], horizon=3, validation=0.1)
    np.testing.assert_array_equal(data.y[:5, 0], 2 * np.arange(3, 8, dtype=np.float32))
    assert np.isnan(data.y[5:10]).all()  # of test rows, and beyond the end
    assert data.y[10, 0] == 26


def test_files_that_differ_are_named() -> None:
    with pytest.raises(RecordingError, match=r"^recording made: expected x_names of made, .*; got "):
        gather([recording_with(50), recording_with(50, width=4)], horizon=0, validation=0.1)


def test_recording_without_targets_is_refused() -> None:
    arrays = {"x": np.ones((10, 2), dtype=np.float32), "rate_hz": np.array(10.0)}
    bare = recording_of(arrays, name="bare", where="bare")
    with pytest.raises(RecordingError, match=r"^recording bare: expected targets `y` to train on, got none$"):
        gather([bare], horizon=0, validation=0.1)


@pytest.mark.parametrize("bin_rows", [1, 4])
def test_features_offline_equal_what_the_predictor_steps(bin_rows: int) -> None:
    made = small_model(5, bin_samples=bin_rows)
    model = msgspec.structs.replace(made, mean=made.mean + 100, golden_x=made.golden_x[:0])  # far: not folded
    data = gather([simulate(3, 5, seed=1)], horizon=0, validation=0.1)
    offline = features(model.preprocess, data)
    predictor = Predictor(model)
    memory, online = predictor.new_memory().data, np.empty_like(offline)
    for t, x in enumerate(data.x):
        predictor.advance(memory, 0, np.ascontiguousarray(x), np.empty(2, dtype=np.float32))
        at = int(predictor.stepper[OWN_AT : OWN_AT + 2].view(np.int64)[0])
        features_at = int(predictor.stepper[at + FEATURES_AT : at + FEATURES_AT + 2].view(np.int64)[0])
        online[t] = predictor.stepper[features_at : features_at + 5]
    np.testing.assert_array_equal(offline, online)


@pytest.mark.parametrize("bin_rows", [1, 4])
def test_network_as_trained_answers_features_as_the_predictor_answers_samples(bin_rows: int) -> None:
    model = small_model(5, bin_samples=bin_rows)
    assert model.preprocess.folds  # the predictor's own weights have the z-score in them
    data = gather([simulate(3, 5, seed=1)], horizon=0, validation=0.1)
    plan = model.card.architecture.plan()
    engine, ys = make_engine(plan, model.weights), np.empty((len(data.x), 2), dtype=np.float32)
    for phase in range(bin_rows):
        xs = np.ascontiguousarray(features(model.preprocess, data)[phase::bin_rows])
        answers = np.empty((len(xs), 2), dtype=np.float32)
        network.run(engine, xs, np.zeros(state_size(plan), dtype=np.float32), answers)
        ys[phase::bin_rows] = answers
    np.testing.assert_allclose(Predictor(model).run(data.x), ys, atol=1e-5)


@pytest.mark.parametrize("missing", ["hold", "mean", "zero"])
def test_scale_makes_training_features_standard(missing: Missing) -> None:
    data = gather([simulate(30, 8, seed=2)], horizon=0, validation=0.2)
    data.x[5:9, 3] = np.nan
    preprocess = scale(data, Preprocess.unscaled(8, 4, missing))
    values = features(preprocess, data)[data.train][3:].astype(np.float64)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-4)


def test_constant_feature_is_switched_off() -> None:
    data = gather([recording_with(50)], horizon=0, validation=0.2)
    data.x[:, 1] = 7.0
    values = features(scale(data, Preprocess.unscaled(data.x.shape[1], 2)), data)
    assert (values[:, 1] == 0).all()


def test_features_do_not_cross_borders() -> None:
    data = gather([recording_with(40, borders=(20,))], horizon=0, validation=0.1)
    preprocess = scale(data, Preprocess.unscaled(data.x.shape[1], 4))
    alone = gather([recording_with(40, borders=(20,))], horizon=0, validation=0.1)
    alone.x[:20] = 99.0
    np.testing.assert_array_equal(features(preprocess, data)[20:], features(preprocess, alone)[20:])


@given(
    stretches=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    steps=st.integers(2, 12),
    stride=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_windows_stay_within_their_stretch(stretches: list[int], steps: int, stride: int, seed: int) -> None:
    ends = np.cumsum([length + 3 for length in stretches])
    places = [(int(end) - length, int(end)) for end, length in zip(ends, stretches, strict=True)]
    rows: F32 = np.arange(ends[-1], dtype=np.float32)[:, None]
    X, Y = Windows(rows, rows.copy(), places, steps, stride).draw(np.random.default_rng(seed), 8)
    assert X.shape == Y.shape == (steps, 8, 1)
    for b in range(8):
        scored = Y[np.isfinite(Y[:, b, 0]), b, 0]
        stretch = [(first, end) for first, end in places if first <= X[0, b, 0] < end]
        assert len(stretch) == 1
        assert all(stretch[0][0] <= row < stretch[0][1] for row in scored)
        assert (np.diff(scored) == stride).all()


def test_runs_never_join_two_recordings() -> None:
    rows = np.ones(10, dtype=np.bool_)
    rows[3] = False
    assert runs(rows, [Span("a", 0, 5), Span("b", 5, 10)]) == [(0, 3), (4, 5), (5, 10)]


def test_state_is_warmed_by_rows_of_its_own_recording() -> None:
    rows = np.zeros(20, dtype=np.bool_)
    rows[6:8] = rows[11:13] = rows[19] = True
    assert warmed(rows, [Span("a", 0, 10), Span("b", 10, 20)], 4) == [(2, 6, 8), (10, 11, 13), (15, 19, 20)]


@given(rows=st.integers(1, 12), horizon=st.integers(-15, 15))
def test_shifted_is_the_value_so_many_rows_later(rows: int, horizon: int) -> None:
    y: F32 = np.arange(rows, dtype=np.float32)[:, None]
    expected = [t + horizon if 0 <= t + horizon < rows else np.nan for t in range(rows)]
    np.testing.assert_array_equal(shifted(y, horizon)[:, 0], expected)


def test_negative_horizon_looks_back_within_each_recording() -> None:
    data = gather([recording_with(20, borders=(10,))], horizon=-3, validation=0.1)
    assert np.isnan(data.y[[0, 1, 2, 10, 11, 12]]).all()
    np.testing.assert_array_equal(data.y[3:10, 0], 2 * np.arange(7, dtype=np.float32))


def test_targets_of_test_rows_are_no_training_rows_targets() -> None:
    data = gather([recording_with(20)], horizon=3, validation=0.1)
    assert np.isnan(data.y[13:16]).all()  # rows 16 to 19 are test rows
    assert data.y[16, 0] == 38


def test_no_whole_bin_is_refused() -> None:
    data = gather([recording_with(5)], horizon=0, validation=0.2)
    with pytest.raises(
        RecordingError, match=r"^recording 0: expected 9 rows, one bin, to train on, got fewer$"
    ):
        scale(data, Preprocess.unscaled(3, 9))
