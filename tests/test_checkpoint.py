"""A fit that was cut goes on from its checkpoint with the bits it would have had."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import ConfigError, ModelError
from stream_rnn.model.file import load_model
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, write_table
from stream_rnn.training.checkpoint import Keeper, read_checkpoint
from stream_rnn.training.fit import Fitted, fit
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch
from tests.test_fit import ignore

CORTEX = simulate(30, 12, seed=3)
OPTIONS = Options(seed=5, units=8, layers=1, epochs=4, batch=4, dropout=0.3, patience=3)


class CutError(Exception):
    """The power went."""


def cut_after(number: int, keeper: Keeper, recording: Recording = CORTEX) -> None:
    """Fit until an epoch is told, and no further."""

    def progress(epoch: Epoch) -> None:
        if epoch.number == number:
            raise CutError

    with contextlib.suppress(CutError):
        fit([recording], OPTIONS, progress, keeper=keeper)


def every_epoch(path: Path, *, resume: bool = False) -> Keeper:
    return Keeper(path, resume=resume, every_s=0.0)


@pytest.fixture(scope="module")
def whole() -> Fitted:
    return fit([CORTEX], OPTIONS, ignore)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_fit_cut_after_any_epoch_goes_on_to_the_same_bits(whole: Fitted, tmp_path: Path, number: int) -> None:
    path = tmp_path / "c"
    cut_after(number, every_epoch(path))
    told: list[Epoch] = []
    resumed = fit([CORTEX], OPTIONS, told.append, keeper=every_epoch(path, resume=True))
    np.testing.assert_array_equal(resumed.model.weights, whole.model.weights)
    assert resumed.model.hash == whole.model.hash
    assert resumed.history == whole.history
    assert [epoch.number for epoch in told] == list(range(number + 1, 5))


def test_fit_cut_at_every_epoch_goes_on_to_the_same_bits(whole: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "c"
    cut_after(1, every_epoch(path))
    for number in (2, 3, 4):
        cut_after(number, every_epoch(path, resume=True))
    resumed = fit([CORTEX], OPTIONS, ignore, keeper=every_epoch(path, resume=True))
    assert resumed.model.hash == whole.model.hash


def test_keeping_changes_no_bits(whole: Fitted, tmp_path: Path) -> None:
    keeper = every_epoch(tmp_path / "c")
    assert fit([CORTEX], OPTIONS, ignore, keeper=keeper).model.hash == whole.model.hash
    keeper.remove()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_before_its_time(tmp_path: Path) -> None:
    now = [0.0]
    keeper = Keeper(tmp_path / "c", every_s=5.0, clock=lambda: now[0])
    kept = []

    def progress(_: Epoch) -> None:
        kept.append(len(read_checkpoint(tmp_path / "c")[1].history))
        now[0] += 2.0

    fit([CORTEX], OPTIONS, progress, keeper=keeper)
    assert kept == [1, 1, 1, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 9}, "option epochs: expected 4, as the fit had that is gone on with, got 9"),
        ({"seed": 6}, "option seed: expected 5, as the fit had that is gone on with, got 6"),
        ({"balance": True}, "option balance: expected false, as the fit had that is gone on with, got true"),
    ],
)
def test_other_options_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "c"
    cut_after(1, every_epoch(path))
    with pytest.raises(ConfigError) as caught:
        fit(
            [CORTEX],
            msgspec.structs.replace(OPTIONS, **change),
            ignore,
            keeper=every_epoch(path, resume=True),
        )
    assert str(caught.value) == f"{path}: {message}"


def test_other_data_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c"
    cut_after(1, every_epoch(path))
    x = CORTEX.x.copy()
    x[7, 3] += 1
    with pytest.raises(ConfigError, match=r"c: digest of the features: expected .*, got "):
        fit([msgspec.structs.replace(CORTEX, x=x)], OPTIONS, ignore, keeper=every_epoch(path, resume=True))


def test_absent_and_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(ConfigError, match=r"c: expected a checkpoint to go on from, got no such file$"):
        fit([CORTEX], OPTIONS, ignore, keeper=every_epoch(path, resume=True))
    cut_after(1, every_epoch(path))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"c: expected a whole checkpoint, got a damaged one"):
        fit([CORTEX], OPTIONS, ignore, keeper=every_epoch(path, resume=True))


def test_killed_command_resumes_to_the_same_model(tmp_path: Path) -> None:
    write_table(simulate(60, 12, seed=6), tmp_path / "cortex.npz")
    told = ("--epochs", "40", "--units", "24", "--layers", "1", "--lag", "auto")

    def command(output: str, *more: str) -> list[str]:
        arguments = ("train", str(tmp_path / "cortex.npz"), "-o", str(tmp_path / output), *told, *more)
        return [sys.executable, "-m", "stream_rnn", *arguments]

    killed = subprocess.Popen(command("b", "--seed", "3"), stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith("epoch 4/40"):
            break
    killed.send_signal(signal.SIGKILL)
    killed.stderr.close()
    assert killed.wait(20) == -signal.SIGKILL
    assert (tmp_path / "b.checkpoint").is_file()
    assert not (tmp_path / "b").exists()
    done = subprocess.run(command("b", "--resume", "--json"), capture_output=True, text=True, check=True)
    subprocess.run(command("a", "--seed", "3"), capture_output=True, check=True)
    assert json.loads(done.stdout)["seed"] == 3
    assert load_model(tmp_path / "a").hash == load_model(tmp_path / "b").hash
    assert not (tmp_path / "b.checkpoint").exists()
