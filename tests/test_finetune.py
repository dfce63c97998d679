"""Fine-tuning: a model of another day gets better, keeps what it is, and is never worse where it may look."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import RecordingError
from stream_rnn.kernels.plan import WEIGHTS_AT
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.evaluate import decode, score
from stream_rnn.training.finetune import each_recording, tune_each, tuning_options
from stream_rnn.training.fit import fit
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch
from tests.test_fit import ignore

CORTEX = simulate(120, 16, seed=3)


def next_day(seconds: float = 60) -> Recording:
    """The same cortex, of which some units fire twice as much and others fell silent."""
    other = simulate(seconds, 16, seed=3)
    x = other.x.copy()
    x[:, :4] *= 2
    x[:, 4:6] = 0
    return msgspec.structs.replace(other, name="next day", x=x)


@pytest.fixture(scope="module")
def parent() -> Model:
    return fit([CORTEX], Options(seed=5, units=24, layers=1, epochs=25, dropout=0.1), ignore).model


def test_r2(model: Model, recording: Recording) -> float:
    found = score(decode(Predictor(model), recording, "test"), recording.y_names).r2_mean
    assert found is not None
    return found


test_r2.__test__ = False  # type: ignore[attr-defined]  # a measure, not a test


def test_a_minute_of_the_next_day_helps(parent: Model) -> None:
    day = next_day()
    tuned = fit([day], tuning_options(parent, 1, {}), ignore, parent=parent)
    assert test_r2(tuned.model, day) > test_r2(parent, day) + 0.02


def test_preprocessing_and_architecture_are_the_parents(parent: Model) -> None:
    tuned = fit([next_day()], tuning_options(parent, 1, {"epochs": 1}), ignore, parent=parent).model
    np.testing.assert_array_equal(tuned.mean, parent.mean)
    np.testing.assert_array_equal(tuned.std, parent.std)
    assert tuned.card.architecture == parent.card.architecture
    assert tuned.card.provenance["fine_tuned_from"] == parent.hash
    assert tuned.card.provenance["option_units"] == 24


def test_no_worse_epoch_replaces_the_parent(parent: Model) -> None:
    wild = tuning_options(parent, 1, {"learning_rate": 3.0, "epochs": 2})
    tuned = fit([CORTEX], wild, ignore, parent=parent)
    assert tuned.best_epoch == 0
    np.testing.assert_array_equal(tuned.model.weights, parent.weights)


def test_frozen_cells_stay_and_the_readout_moves(parent: Model) -> None:
    options = tuning_options(parent, 1, {"freeze": "cells", "epochs": 3})
    tuned = fit([next_day()], options, ignore, parent=parent)
    readout = int(parent.card.architecture.plan()[-1, WEIGHTS_AT])
    assert tuned.best_epoch > 0
    np.testing.assert_array_equal(tuned.model.weights[:readout], parent.weights[:readout])
    assert (tuned.model.weights[readout:] != parent.weights[readout:]).any()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"x_names": tuple(f"other{i}" for i in range(16))}, "channels"),
        ({"y_names": ("velocity_y", "velocity_x")}, "outputs"),
        ({"rate_hz": 50.0}, "rate_hz"),
    ],
)
def test_recording_of_other_signals_is_named(parent: Model, change: dict[str, object], what: str) -> None:
    other = msgspec.structs.replace(next_day(), **change)
    with pytest.raises(
        RecordingError, match=rf"^recording next day: expected {what} of model {parent.hash}, .*, got [^\n]*$"
    ):
        fit([other], tuning_options(parent, 1, {}), ignore, parent=parent)


def test_fine_tuning_resumes_to_the_same_bits(parent: Model, tmp_path: Path) -> None:
    options = tuning_options(parent, 1, {"epochs": 3})
    whole = fit([next_day()], options, ignore, parent=parent)

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit([next_day()], options, stop, parent=parent, keeper=Keeper(tmp_path / "c", every_s=0))
    keeper = Keeper(tmp_path / "c", resume=True)
    assert fit([next_day()], options, ignore, parent=parent, keeper=keeper).model.hash == whole.model.hash


def test_each_recording_gets_the_model_it_would_get_alone(parent: Model) -> None:
    day = next_day(40)
    number = (np.arange(len(day.x)) >= 2000).astype(np.int32)
    two = msgspec.structs.replace(day, recording=number, recording_names=("left", "right"))
    options = tuning_options(parent, 1, {"epochs": 2})
    tuned = list(tune_each(parent, [two], options))
    alone = fit([each_recording([two])[1]], options, ignore, parent=parent)
    assert [one.recording.name for one in tuned] == ["left", "right"]
    assert tuned[1].fitted.model.hash == alone.model.hash


def test_each_recording_is_looked_at_before_the_first_is_fitted(parent: Model) -> None:
    day = next_day(40)
    number = (np.arange(len(day.x)) >= 2000).astype(np.int32)
    y = np.where(number[:, None] == 1, np.nan, day.y).astype(np.float32)
    two = msgspec.structs.replace(day, y=y, recording=number, recording_names=("left", "right"))
    with pytest.raises(RecordingError, match=r"^recording right: expected known values of target velocity_x"):
        next(tune_each(parent, [two], tuning_options(parent, 1, {})))
