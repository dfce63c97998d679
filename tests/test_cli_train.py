"""`stream-rnn train` and `info`, as their users see them."""

import json
from pathlib import Path

import pytest

from stream_rnn.cli import main
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import write_table


@pytest.fixture(scope="module")
def cortex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "cortex.npz"
    write_table(simulate(30, 12, seed=6), path)
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


QUICK = ("--epochs", "2", "--units", "8", "--seed", "1")


def test_json_is_one_object_with_the_test_scores(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.safetensors"
    code, out, err = said(capsys, "train", str(cortex), "-o", str(output), "--json", *QUICK)
    report = json.loads(out)
    assert code == 0
    assert set(report["test"]["r2"]) == {"velocity_x", "velocity_y"}
    assert report["test"]["r2_mean"] == pytest.approx(sum(report["test"]["r2"].values()) / 2)
    assert (report["epochs"], report["seed"], output.is_file()) == (2, 1, True)
    assert report["seconds"] > 0
    assert "epoch 2/2: loss " in err


def test_scores_are_those_of_evaluate(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "m.safetensors")
    _, trained, _ = said(capsys, "train", str(cortex), "-o", output, "--json", *QUICK)
    _, evaluated, _ = said(capsys, "evaluate", output, str(cortex), "--json")
    assert json.loads(trained)["test"] == json.loads(evaluated)["test"]
    assert json.loads(trained)["hash"] == json.loads(evaluated)["model"]


def test_people_get_a_table_and_where_the_model_is(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.safetensors"
    _, out, _ = said(capsys, "train", str(cortex), "-o", str(output), *QUICK)
    assert "velocity_x" in out
    assert "cm/s" in out
    assert f"{output}: model " in out


def test_info_describes_the_model(cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "m.safetensors")
    said(capsys, "train", str(cortex), "-o", output, *QUICK)
    _, out, _ = said(capsys, "info", output, "--json")
    card = json.loads(out)
    assert card["architecture"]["layers"][0]["cell"] == "gru"
    assert card["provenance"]["recordings"] == ["cortex"]
    assert [len(card["provenance"][f"history_{name}"]) for name in ("loss", "validation_r2")] == [2, 2]
    _, out, _ = said(capsys, "info", output)
    assert "velocity_x (cm/s), velocity_y (cm/s)" in out
    assert "history" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--units", "0"), 2, "stream-rnn: --units: expected `int` >= 1, got 0\n"),
        (("--dropout", "1.5"), 2, "stream-rnn: --dropout: expected `float` < 1.0, got 1.5\n"),
        (
            ("-o", "/nowhere/m"),
            2,
            "stream-rnn: /nowhere/m: expected a place to write the model, got No such file",
        ),
    ],
)
def test_mistake_is_one_line_before_any_work(
    cortex: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = said(capsys, "train", str(cortex), "-o", "unused.safetensors", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
