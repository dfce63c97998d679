"""The fit: it learns, it repeats itself, and it looks only where it may."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import StreamRnnError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import read_table
from stream_rnn.training.evaluate import decode, score
from stream_rnn.training.fit import Epoch, Options, fit, r2

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


def test_loss_that_is_no_number_stops_with_one_line() -> None:
    wild = msgspec.structs.replace(QUICK, learning_rate=1e30, cell="elman")
    with pytest.raises(StreamRnnError, match=r"^training: epoch 1: expected a finite loss, got "):
        fit([CORTEX], wild, ignore)


def test_r2_is_one_for_the_truth_zero_for_its_mean_and_nan_for_a_constant() -> None:
    truth = np.array([[1, 5], [2, 5], [np.nan, 5], [3, 5]], dtype=np.float32)
    np.testing.assert_array_equal(r2(truth, truth), [1, np.nan])
    np.testing.assert_array_equal(r2(truth, np.full_like(truth, 2.0)), [0, np.nan])


@pytest.mark.data
@pytest.mark.slow
def test_defaults_decode_the_real_recording(shared_data: Path) -> None:
    recording = read_table(shared_data / "indy_20160927_04.npz")
    model = fit([recording], Options(seed=1), ignore).model
    scores = score(decode(Predictor(model), recording, "test"), recording.y_names)
    assert scores.r2_mean is not None
    assert scores.r2_mean >= 0.70
