"""The linear decoders: equal to the books' formulas, causal, and served with the bits of any other model."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import ConfigError, RecordingError, StreamRnnError
from stream_rnn.interval import Interval
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, read_table
from stream_rnn.sample import F32
from stream_rnn.training import kalman, wiener
from stream_rnn.training.baselines import FITS, Decoder, Options, fit_kalman, fit_wiener
from stream_rnn.training.evaluate import decode, score
from stream_rnn.training.gradient import Backpropagation
from stream_rnn.training.interval import calibrated
from stream_rnn.training.windows import gather
from tests import reference
from tests.reference import F64
from tests.small import saved_model
from tests.test_stepper import bits

CORTEX = simulate(60, 12, seed=3)
QUICK = Options(bins_ms=(50.0, 100.0), history_s=0.5)
MODELS = {name: fit([CORTEX], QUICK).model for name, fit in FITS.items()}
decoders = pytest.mark.parametrize("decoder", list(FITS))


def z_scores(model: Model, xs: F32) -> F64:
    """Features of one stream in float64."""
    binned = reference.binned(xs.astype(np.float64), model.card.bin)
    z: F64 = (binned - model.mean.astype(np.float64)) / model.std.astype(np.float64)
    return z


def lagged(z: F64, lags: int, size: int) -> F64:
    """1, z_t, z_(t - size), ...: zeros before the first row."""
    padded = np.vstack([np.zeros((lags * size, z.shape[1])), z])
    columns = [padded[lags * size - lag * size :][: len(z)] for lag in range(lags)]
    return np.hstack([np.ones((len(z), 1)), *columns])


def chosen(model: Model, name: str) -> float:
    value = model.card.provenance[f"chosen_{name}"]
    assert isinstance(value, int | float)
    return float(value)


def in_two(recording: Recording, border: int) -> Recording:
    number = (np.arange(len(recording.x)) >= border).astype(np.int32)
    return msgspec.structs.replace(recording, recording=number, recording_names=("a", "b"))


def test_wiener_filter_equals_ridge_regression_on_lagged_features() -> None:
    options = msgspec.structs.replace(QUICK, bins_ms=(40.0,))  # of so few samples every row is fitted
    model = fit_wiener([CORTEX], options).model
    lags, strength = int(chosen(model, "lags")), chosen(model, "strength")
    train, test = ~CORTEX.is_test, CORTEX.is_test
    phi = lagged(z_scores(model, CORTEX.x[train]), lags, 4)
    penalty = len(phi) * strength * np.diag([0.0] + [1.0] * (phi.shape[1] - 1))
    w = np.linalg.inv(phi.T @ phi + penalty) @ phi.T @ CORTEX.y[train].astype(np.float64)
    expected = lagged(z_scores(model, CORTEX.x[test]), lags, 4) @ w
    ys = Predictor(model).run(CORTEX.x[test])
    assert lags > 1
    np.testing.assert_allclose(ys, expected, atol=1e-4 * np.abs(expected).max())


def textbook(system: kalman.System, z: F64) -> F64:
    """The Kalman filter as Wu et al. 2006 write it, its gain anew at each step, (T, n)."""
    x, P = np.zeros(len(system.A)), 10.0 * np.eye(len(system.A))
    found = []
    for row in z - system.z_mean:
        x, P = system.A @ x, system.A @ P @ system.A.T + system.W
        gain = P @ system.H.T @ np.linalg.inv(system.H @ P @ system.H.T + system.Q)
        x, P = x + gain @ (row - system.H @ x), (np.eye(len(x)) - gain @ system.H) @ P
        found.append(x + system.x_mean)
    return np.array(found)


@pytest.mark.parametrize("border", [None, 2000])
def test_kalman_filter_equals_the_textbook_once_both_settled(border: int | None) -> None:
    model = fit_kalman([in_two(CORTEX, border) if border else CORTEX], QUICK).model
    size, order = model.card.bin, int(chosen(model, "order"))
    end = int(np.flatnonzero(CORTEX.is_test)[0])
    stretches = [(0, border), (border, end)] if border else [(0, end)]
    z = np.concatenate([z_scores(model, CORTEX.x[a:b]) for a, b in stretches]).astype(np.float32)
    system = kalman.fit_system(z, CORTEX.y[:end], stretches, size, order)
    system = system._replace(Q=chosen(model, "noise") * system.Q)
    xs = CORTEX.x[CORTEX.is_test]
    ys = Predictor(model).run(xs)
    for phase in range(size):
        expected = textbook(system, z_scores(model, xs)[phase::size])[40:, :2]
        np.testing.assert_allclose(ys[phase::size][40:], expected, atol=1e-3 * np.abs(expected).max())


def moving(T: int, seed: int = 0) -> tuple[F64, F64, F64, F64]:
    """A system that turns and fades, seen through five noisy features: A, H, x, (T, 2), and z, (T, 5)."""
    rng = np.random.default_rng(seed)
    A, H = np.array([[0.9, 0.2], [-0.2, 0.9]]), rng.standard_normal((5, 2))
    x = np.zeros((T, 2))
    for t in range(1, T):
        x[t] = A @ x[t - 1] + 0.1 * rng.standard_normal(2)
    return A, H, x, x @ H.T + 0.3 * rng.standard_normal((T, 5))


def test_system_is_recovered_from_what_it_did() -> None:
    A, H, x, z = moving(40_000)
    system = kalman.fit_system(
        z.astype(np.float32), x.astype(np.float32), [(0, 20_000), (20_000, 40_000)], 1, 1
    )
    np.testing.assert_allclose(system.A, A, atol=0.02)
    np.testing.assert_allclose(system.H, H, atol=0.02)
    np.testing.assert_allclose(system.W, 0.01 * np.eye(2), atol=0.001)
    np.testing.assert_allclose(system.Q, 0.09 * np.eye(5), atol=0.005)


def test_no_transition_is_fitted_across_a_border() -> None:
    _, _, x, z = moving(2000)
    x[1000:] += 50  # a jump that no movement made
    system = kalman.fit_system(z.astype(np.float32), x.astype(np.float32), [(0, 1000), (1000, 2000)], 1, 2)
    alone = kalman.fit_system(z.astype(np.float32), x.astype(np.float32), [(0, 2000)], 1, 2)
    assert np.abs(system.W).max() < 0.1
    assert np.abs(alone.W).max() > 0.5


def test_no_lag_reaches_across_a_border() -> None:
    _, _, x, z = moving(300)
    y, features, every = x.astype(np.float32), z.astype(np.float32), np.ones(300, dtype=np.bool_)
    both = wiener.moments(features, y, [(0, 100), (100, 300)], every, 2, 4)
    first = wiener.moments(features[:100], y[:100], [(0, 100)], every[:100], 2, 4)
    second = wiener.moments(features[100:], y[100:], [(0, 200)], every[100:], 2, 4)
    assert both.rows == first.rows + second.rows
    np.testing.assert_allclose(both.gram, first.gram + second.gram, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(both.cross, first.cross + second.cross, rtol=1e-12, atol=1e-9)


def test_rows_without_every_target_are_left_out() -> None:
    _, _, x, z = moving(300)
    y, features, kept = x.astype(np.float32), z.astype(np.float32), np.ones(300, dtype=np.bool_)
    kept[50:80] = False
    without = wiener.moments(features, y, [(0, 300)], kept, 1, 3)
    y[50:80, 1] = np.nan
    nothing = wiener.moments(features, y, [(0, 300)], np.ones(300, dtype=np.bool_), 1, 3)
    assert nothing.rows == without.rows == 270
    np.testing.assert_array_equal(nothing.gram, without.gram)
    assert np.isfinite(kalman.fit_system(features, y, [(0, 300)], 1, 2).A).all()


@decoders
@pytest.mark.parametrize("horizon", [7, -7])
def test_missing_targets_and_horizon_are_fitted(decoder: Decoder, horizon: int) -> None:
    y = CORTEX.y.copy()
    y[500:700] = np.nan
    options = msgspec.convert({**msgspec.to_builtins(QUICK), "horizon": horizon}, Options)
    model = FITS[decoder]([msgspec.structs.replace(CORTEX, y=y)], options).model
    assert np.isfinite(model.weights).all()
    assert model.card.horizon == horizon


@decoders
def test_silent_channel_does_no_harm(decoder: Decoder) -> None:
    x = CORTEX.x.copy()
    x[:, 3] = 0
    model = FITS[decoder]([msgspec.structs.replace(CORTEX, x=x)], QUICK).model
    assert np.isfinite(Predictor(model).run(CORTEX.x)).all()


@decoders
def test_test_rows_do_not_change_the_decoder(decoder: Decoder) -> None:
    y = CORTEX.y.copy()
    y[CORTEX.is_test] = 1e6
    assert FITS[decoder]([msgspec.structs.replace(CORTEX, y=y)], QUICK).model.hash == MODELS[decoder].hash


@decoders
def test_future_changes_nothing_before_it(decoder: Decoder) -> None:
    x = CORTEX.x.copy()
    x[600:] += 50
    predictor = Predictor(MODELS[decoder])
    changed = decode(predictor, msgspec.structs.replace(CORTEX, x=x), "all").y
    as_it_was = decode(predictor, CORTEX, "all").y
    assert bits(changed[:600]) == bits(as_it_was[:600])
    assert (changed[600] != as_it_was[600]).any()


@decoders
def test_every_way_to_step_gives_the_same_bits(decoder: Decoder) -> None:
    predictor, xs = Predictor(MODELS[decoder]), CORTEX.x[:300]
    expected = predictor.run(xs, "run")
    assert bits(np.array([predictor.step(x, "step") for x in xs])) == bits(expected)
    many = [predictor.step_many(np.stack([x, x[::-1]]), ["one", "other"])[0] for x in xs]
    assert bits(np.array(many)) == bits(expected)
    predictor.run(xs[:123], "cut")
    predictor.restore(predictor.state("cut"), "restored")
    assert bits(predictor.run(xs[123:], "restored")) == bits(expected[123:])


@decoders
def test_daemon_says_what_the_decoder_says_offline(decoder: Decoder, tmp_path: Path) -> None:
    path, xs = saved_model(tmp_path, MODELS[decoder]), CORTEX.x[:60]
    command = [sys.executable, "-m", "stream_rnn", "run", "--model", str(path), "--stdio"]
    given = "".join(json.dumps({"seq": seq, "x": x}) + "\n" for seq, x in enumerate(xs.tolist()))
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=120)
    told = np.array([json.loads(line)["y"] for line in done.stdout.splitlines()], dtype=np.float32)
    assert bits(told) == bits(Predictor(MODELS[decoder]).run(xs))


@decoders
def test_decoder_survives_its_file(decoder: Decoder, tmp_path: Path) -> None:
    loaded = load_model(saved_model(tmp_path, MODELS[decoder]))
    assert loaded.hash == MODELS[decoder].hash
    assert loaded.card.provenance["decoder"] == decoder
    assert len(loaded.golden_x) == 16


@decoders
def test_simulated_cortex_is_decoded(decoder: Decoder) -> None:
    scores = score(decode(Predictor(MODELS[decoder]), CORTEX, "test"), CORTEX.y_names)
    assert scores.r2_mean is not None
    assert scores.r2_mean > 0.4


@decoders
def test_residuals_are_of_rows_the_decoder_had_not_been_fitted_to(decoder: Decoder) -> None:
    model = MODELS[decoder]
    data = gather([CORTEX], 0, QUICK.validation)
    refitted = calibrated(model, data).residuals
    assert model.residuals is not None
    assert refitted is not None
    assert (np.std(refitted, axis=0) < np.std(model.residuals, axis=0)).all()
    tested = decode(Predictor(model), CORTEX, "test")
    low, high = Interval(model.residuals, 0.8).margins
    inside = (tested.truth >= tested.y + low) & (tested.truth <= tested.y + high)
    np.testing.assert_allclose(inside.mean(axis=0), 0.8, atol=0.15)


def test_only_filters_write_their_lags() -> None:
    assert b"lags" not in msgspec.json.encode(Layer("gru", 3))
    assert msgspec.json.decode(msgspec.json.encode(Layer("fir", 2, lags=9)), type=Layer).steps == 9
    assert str(Layer("fir", 2, lags=9)) == "fir 2 over 9 steps"
    assert str(Layer("elman", 4, activation="linear")) == "elman linear 4"


def test_filter_is_not_trained_by_gradient() -> None:
    plan = Architecture(inputs=3, layers=(Layer("fir", 2, lags=4),), outputs=2).plan()
    with pytest.raises(
        ConfigError, match=r"^training: expected elman, gru or lstm layers, got fir, which is "
    ):
        Backpropagation(plan, 4, 2)


def test_recording_without_targets_to_choose_by_is_refused() -> None:
    y = CORTEX.y.copy()
    y[2000:] = np.nan
    with pytest.raises(RecordingError, match=r"^recording sim.*: expected targets to choose by, got none$"):
        fit_wiener([msgspec.structs.replace(CORTEX, y=y)], QUICK)


@decoders
def test_mean_stands_in_for_no_feature_that_is_no_sum(decoder: Decoder) -> None:
    options = msgspec.structs.replace(QUICK, missing="mean", logarithm=True)
    with pytest.raises(
        ConfigError,
        match=r"^missing: expected hold, zero or fail where features are no sums of samples, got mean$",
    ):
        FITS[decoder]([CORTEX], options)


def test_too_few_rows_for_a_system_are_refused() -> None:
    few = np.ones((6, 5), dtype=np.float32)
    with pytest.raises(
        StreamRnnError, match=r"^kalman: expected more rows with targets than features, got 5$"
    ):
        kalman.fit_system(few, few[:, :2], [(0, 6)], 1, 1)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "least"), [("wiener", 0.46), ("kalman", 0.28)])
def test_real_recording_is_decoded_as_well_as_elsewhere(
    shared_data: Path, decoder: Decoder, least: float
) -> None:
    recording = read_table(shared_data / "indy_20160927_04.npz")
    model = FITS[decoder]([recording], Options()).model
    scores = score(decode(Predictor(model), recording, "test"), recording.y_names)
    assert scores.r2_mean is not None
    assert scores.r2_mean >= least
