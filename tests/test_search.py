"""A search tries a bounded number of options, remembers them, and goes on where it was cut off."""

import re
from pathlib import Path

import msgspec
import pytest

from stream_rnn.errors import ConfigError
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording
from stream_rnn.training.fit import Fitted
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch
from stream_rnn.training.search import SPACE, Trial, draw, search

CORTEX = simulate(30, 6, seed=3)
QUICK = Options(seed=5, units=4, layers=1, epochs=1, window_s=1.0)
GIVEN = frozenset({"units", "layers", "window_s", "epochs", "cell"})


def ignore(epoch: Epoch) -> None:
    """Watch nothing."""


def searched(
    kept: Path, trials: int, options: Options = QUICK, recording: Recording = CORTEX
) -> tuple[Fitted, list[Trial]]:
    told: list[Trial] = []
    _, fitted = search([recording], options, GIVEN, trials, kept, lambda trial, _: told.append(trial), ignore)
    return fitted, told


def test_the_best_trial_by_validation_is_the_model(tmp_path: Path) -> None:
    fitted, told = searched(tmp_path / "trials", 3)
    best = max(told, key=lambda trial: trial.validation_r2)
    assert [trial.number for trial in told] == [0, 1, 2]
    assert told[0].options == QUICK
    assert fitted.model.card.provenance["option_dropout"] == best.options.dropout
    assert fitted.validation_r2 == best.validation_r2


def test_a_search_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    whole, told = searched(tmp_path / "whole", 3)
    searched(tmp_path / "cut", 1)
    with (tmp_path / "cut").open("ab") as file:
        file.write(b'{"number":1,"opt')  # killed while it wrote
    again, rest = searched(tmp_path / "cut", 3)
    assert rest == told[1:]
    assert again.model.hash == whole.model.hash
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_was_given_is_not_tried() -> None:
    for number in range(1, 20):
        drawn = draw(QUICK, GIVEN, number)
        assert (drawn.units, drawn.layers, drawn.cell) == (4, 1, "gru")
        assert drawn.dropout in SPACE["dropout"]
        assert drawn == draw(QUICK, GIVEN, number)


def test_trials_of_other_options_are_refused(tmp_path: Path) -> None:
    searched(tmp_path / "trials", 1)
    other = msgspec.structs.replace(QUICK, seed=6)
    with pytest.raises(ConfigError, match=r"trials: expected trials of these data and options, got others"):
        searched(tmp_path / "trials", 2, other)
    (tmp_path / "damaged").write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match=r"damaged, line 1: expected a trial, got"):
        searched(tmp_path / "damaged", 1)


def test_trials_of_other_values_in_recordings_of_one_name_and_shape_are_refused(tmp_path: Path) -> None:
    searched(tmp_path / "trials", 1)
    x = CORTEX.x.copy()
    x[100, 0] += 1
    with pytest.raises(ConfigError, match=r"trials: expected trials of these data and options, got others"):
        searched(tmp_path / "trials", 2, recording=msgspec.structs.replace(CORTEX, x=x))


def test_a_trial_is_a_short_line(tmp_path: Path) -> None:
    searched(tmp_path / "trials", 1)
    line = msgspec.json.decode((tmp_path / "trials").read_bytes())
    assert re.fullmatch(r"[0-9a-f]{16}", line["data"])
