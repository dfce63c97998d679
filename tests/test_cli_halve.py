"""`stream-rnn halve`: another model, its own name, and what it cost."""

from pathlib import Path

import msgspec
import pytest

from stream_rnn.cli import main
from stream_rnn.model.file import load_model, save_model
from stream_rnn.predictor import Predictor
from tests.small import small_model


def test_rounded_model_is_written_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    save_model(model, tmp_path / "whole.safetensors")
    assert main(["halve", str(tmp_path / "whole.safetensors"), "-o", str(tmp_path / "half"), "--json"]) == 0
    report = msgspec.json.decode(capsys.readouterr().out)
    half = load_model(tmp_path / "half")
    assert half.half
    assert (report["of"], report["model"], report["rows"]) == (model.hash, half.hash, 1000)
    assert all(0 < difference < 0.1 for difference in report["largest_difference"].values())
    assert list(report["largest_difference"]) == ["v0 (cm/s)", "v1 (cm/s)"]
    assert Predictor(half).hash == half.hash != model.hash


def test_scores_before_and_after_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shared_data: Path
) -> None:
    recording = shared_data / "indy_20160927_04.npz"
    model = str(tmp_path / "model.safetensors")
    assert main(["train", str(recording), "-o", model, "--epochs", "2", "--seed", "1"]) == 0
    capsys.readouterr()
    assert main(["halve", model, "-o", str(tmp_path / "half"), "--data", str(recording)]) == 0
    told = capsys.readouterr().out
    assert "vel_x_cm_s" in told
    assert "mean R2" in told
