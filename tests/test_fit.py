"""The fit: it learns, it repeats itself, and it looks only where it may."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import RecordingError, StreamRnnError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import Missing
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, read_table
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import decode, score
from stream_rnn.training.fit import fit
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch

CORTEX = simulate(60, 24, seed=3)
QUICK = Options(seed=5, units=16, epochs=3, dropout=0.2)


def ignore(epoch: Epoch) -> None:
    """Watch nothing."""


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_every_cell_learns_the_simulated_cortex(cell: str) -> None:
    cortex = simulate(120, 24, seed=3)
    options = msgspec.structs.replace(QUICK, cell=cell, epochs=40, units=24, dropout=0.1)
    scores = score(decode(Predictor(fit([cortex], options, ignore).model), cortex, "test"), cortex.y_names)
    assert scores.r2_mean is not None
    assert scores.r2_mean > 0.6


def test_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    first, again = (fit([CORTEX], QUICK, ignore).model for _ in range(2))
    other = fit([CORTEX], msgspec.structs.replace(QUICK, seed=6), ignore).model
    np.testing.assert_array_equal(first.weights, again.weights)
    assert first.hash == again.hash != other.hash


def test_test_rows_do_not_change_the_model() -> None:
    y = CORTEX.y.copy()
    y[CORTEX.is_test] = 1e6
    blind = msgspec.structs.replace(CORTEX, y=y)
    assert fit([blind], QUICK, ignore).model.hash == fit([CORTEX], QUICK, ignore).model.hash


def test_best_epoch_is_kept_and_every_epoch_told() -> None:
    told: list[Epoch] = []
    fitted = fit([CORTEX], msgspec.structs.replace(QUICK, epochs=8), told.append)
    assert told == fitted.history
    assert [epoch.number for epoch in told] == list(range(1, 9))
    assert fitted.best_epoch == 1 + int(np.argmax([epoch.validation_r2 for epoch in told]))


def test_model_carries_its_making_and_survives_its_file(tmp_path: Path) -> None:
    model = fit([CORTEX], QUICK, ignore).model
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.hash == model.hash
    assert loaded.card.bin == 4
    assert loaded.card.provenance["option_seed"] == 5
    assert loaded.card.provenance["recordings"] == [CORTEX.name]
    assert len(loaded.golden_x) == 16


@pytest.mark.parametrize("readout", ["tanh", "sigmoid", "softmax"])
def test_squashed_readouts_answer_within_their_range(readout: str) -> None:
    model = fit([CORTEX], msgspec.structs.replace(QUICK, readout=readout), ignore).model
    ys = Predictor(model).run(CORTEX.x[:50])
    assert (np.abs(ys) <= 1).all()
    assert readout == "tanh" or (ys >= 0).all()


def test_missing_values_and_two_layers_and_horizon_train() -> None:
    x = CORTEX.x.copy()
    x[::7, 2] = np.nan
    options = msgspec.structs.replace(QUICK, layers=2, horizon=5, missing="mean", bin_ms=1.0)
    model = fit([msgspec.structs.replace(CORTEX, x=x)], options, ignore).model
    assert model.card.bin == 1
    assert (model.card.horizon, len(model.card.architecture.layers)) == (5, 2)
    assert np.isfinite(model.weights).all()


def test_patience_ends_the_fit_and_keeps_the_same_best_epoch() -> None:
    noise = np.random.default_rng(0).standard_normal(CORTEX.y.shape).astype(np.float32)
    recording = msgspec.structs.replace(CORTEX, y=noise)
    options = msgspec.structs.replace(QUICK, epochs=12)
    whole = fit([recording], options, ignore)
    stopped = fit([recording], msgspec.structs.replace(options, patience=2), ignore)
    made = len(stopped.history)
    assert stopped.history == whole.history[:made]
    assert made < 12
    assert made == stopped.best_epoch + 2
    assert stopped.best_epoch == 1 + int(np.argmax([epoch.validation_r2 for epoch in whole.history[:made]]))


def with_x(change: Callable[[F32], None]) -> Recording:
    x = CORTEX.x.copy()
    change(x)
    return msgspec.structs.replace(CORTEX, x=x)


def never(x: F32) -> None:
    x[:, 2] = np.nan


def stretches(x: F32) -> None:
    x[:40, 1] = np.nan
    x[1000:1300] = np.nan
    x[2000:2100, 5:9] = np.inf


@pytest.mark.parametrize("missing", ["hold", "mean", "zero", "fail"])
@pytest.mark.parametrize("change", [never, stretches])
def test_missing_channels_and_stretches_are_learnt_around(
    change: Callable[[F32], None], missing: Missing
) -> None:
    recording = with_x(change)
    model = fit([recording], msgspec.structs.replace(QUICK, missing=missing), ignore).model
    assert np.isfinite(model.weights).all()
    assert np.isfinite(model.mean).all()
    if missing != "fail":
        assert np.isfinite(decode(Predictor(model), recording, "test").y).all()


def test_channel_that_was_never_there_changes_nothing_else() -> None:
    other = msgspec.structs.replace(CORTEX, x=np.delete(CORTEX.x, 2, axis=1), x_names=CORTEX.x_names[1:])
    silent = fit([with_x(never)], QUICK, ignore).model
    without = fit([msgspec.structs.replace(other, x_units=CORTEX.x_units[1:])], QUICK, ignore).model
    assert silent.std[2] == 0
    np.testing.assert_array_equal(np.delete(silent.mean, 2), without.mean)


def test_recording_without_known_targets_adds_nothing_but_does_no_harm() -> None:
    unknown = msgspec.structs.replace(
        simulate(20, 24, seed=4), y=np.full((2000, 2), np.nan, dtype=np.float32)
    )
    model = fit([CORTEX, unknown], QUICK, ignore).model
    assert np.isfinite(model.weights).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 60])
def test_recording_shorter_than_a_window_or_a_bin_trains_beside_others(rows: int) -> None:
    cut = {name: getattr(CORTEX, name)[:rows] for name in ("x", "y", "is_test", "recording")}
    model = fit([CORTEX, msgspec.structs.replace(CORTEX, name="short", **cut)], QUICK, ignore).model
    assert np.isfinite(model.weights).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda y: np.full_like(y, np.nan),
            "known values of target velocity_x in the training rows, got only NaN",
        ),
        (
            lambda y: np.where(np.arange(len(y))[:, None] < 4000, y, np.nan),
            "a target that varies in the validation rows, got none in 720 rows",
        ),
        (
            lambda y: np.where(np.arange(len(y))[:, None] < 4000, y, 1),
            "a target that varies in the validation rows, got none in 720 rows",
        ),
    ],
)
def test_targets_that_cannot_be_fitted_or_chosen_by_are_refused(
    change: Callable[[F32], F32], message: str
) -> None:
    recording = msgspec.structs.replace(CORTEX, y=change(CORTEX.y).astype(np.float32))
    with pytest.raises(RecordingError) as caught:
        fit([recording], QUICK, ignore)
    assert str(caught.value) == f"recording {CORTEX.name}: expected {message}"


def test_recording_of_too_few_rows_is_refused() -> None:
    cut = {name: getattr(CORTEX, name)[:3] for name in ("x", "y", "is_test", "recording")}
    with pytest.raises(RecordingError, match=r"^recording simulated.*: expected [^\n]*, got [^\n]*$"):
        fit([msgspec.structs.replace(CORTEX, **cut)], QUICK, ignore)


def test_loss_that_is_no_number_stops_with_one_line() -> None:
    wild = msgspec.structs.replace(QUICK, learning_rate=1e30, cell="elman")
    with pytest.raises(StreamRnnError, match=r"^training: epoch 1: expected a finite loss, got "):
        fit([CORTEX], wild, ignore)


@pytest.mark.data
@pytest.mark.slow
def test_defaults_decode_the_real_recording(shared_data: Path) -> None:
    recording = read_table(shared_data / "indy_20160927_04.npz")
    model = fit([recording], Options(seed=1), ignore).model
    scores = score(decode(Predictor(model), recording, "test"), recording.y_names)
    assert scores.r2_mean is not None
    assert scores.r2_mean >= 0.70
