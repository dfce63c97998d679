"""`stream-rnn train` and `info`, as their users see them."""

import io
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from stream_rnn.cli import main
from stream_rnn.cli.train_progress import TimeLeft, clock_text, fit_progress
from stream_rnn.model.file import load_model
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import last_fifth, read_table, write_table
from stream_rnn.training.run import Epoch
from stream_rnn.training.windows import shifted
from tests.small import saved_model, small_model


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


def test_same_seed_writes_the_same_model(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        said(capsys, "train", str(cortex), "-o", str(tmp_path / name), *QUICK)
    assert load_model(tmp_path / "a").hash == load_model(tmp_path / "b").hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_csv_trains_and_scores_like_the_same_npz(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = read_table(cortex)
    rows = np.concatenate([recording.y, recording.x], axis=1).astype(np.float64)
    text = "\n".join(
        [
            ",".join(recording.y_names + recording.x_names),
            *(",".join(map(repr, row)) for row in rows.tolist()),
        ]
    )
    (tmp_path / "cortex.csv").write_text(text)
    told = ("--targets", ",".join(recording.y_names), "--rate", "100")
    hashes = []
    for path, more in ((cortex, ()), (tmp_path / "cortex.csv", told)):
        output = str(tmp_path / "m")
        said(capsys, "train", str(path), "-o", output, "--epochs", "1", "--units", "8", "--seed", "1", *more)
        _, out, _ = said(capsys, "evaluate", output, str(path), "--json", *more)
        hashes.append(json.loads(out)["test"])
    assert hashes[0] == hashes[1]


def test_lag_is_told_kept_and_scored_by(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, output = read_table(cortex), str(tmp_path / "m")
    late = msgspec.structs.replace(recording, y=shifted(recording.y, -25))
    write_table(late, tmp_path / "late.npz")
    _, out, err = said(
        capsys, "train", str(tmp_path / "late.npz"), "-o", output, "--lag", "auto", "--json", *QUICK
    )
    report = json.loads(out)
    lag = report["lag"]["samples"]
    assert 15 <= lag <= 35
    assert f"\nlag {lag} samples ({10 * lag} ms); validation R2 of a straight line by lag: -50: " in err
    card = load_model(Path(output)).card
    assert card.horizon == lag
    assert f"{lag}: {report['lag']['validation_r2'][str(lag)]:.4f}" in card.provenance["lag_validation_r2"]  # type: ignore[operator]
    _, out, _ = said(capsys, "evaluate", output, str(tmp_path / "late.npz"), "--json")
    assert json.loads(out)["test"] == report["test"]


def test_fine_tuning_to_each_recording_writes_models_and_tells_pooled_and_median(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, model = read_table(cortex), str(tmp_path / "m")
    number = (np.arange(len(recording.x)) >= 1500).astype(np.int32)
    two = msgspec.structs.replace(
        recording, recording=number, recording_names=("left hand", "right"), is_test=last_fifth(number)
    )
    write_table(two, tmp_path / "two.npz")
    said(capsys, "train", str(cortex), "-o", model, *QUICK)
    arguments = ("train", str(tmp_path / "two.npz"), "--fine-tune", model, "--each", str(tmp_path / "each"))
    _, out, _ = said(capsys, *arguments, "--epochs", "2", "--seed", "1", "--json")
    report = json.loads(out)
    assert report["fine_tuned_from"] == load_model(Path(model)).hash
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == [
        "left_hand.safetensors",
        "right.safetensors",
    ]
    after = [one["test_r2"]["after"] for one in report["each"]]
    assert report["median"]["after"] == pytest.approx(sum(after) / 2)
    assert set(report["pooled"]) == {"before", "after"}


def test_time_left_goes_by_the_epochs_after_the_first() -> None:
    now = [100.0]
    left = TimeLeft(lambda: now[0])
    found = []
    for number, seconds in ((5, 30.0), (6, 2.0), (7, 4.0)):
        now[0] += seconds
        found.append(left.after(number, 10))
    assert found == [150.0, 8.0, 9.0]
    assert [clock_text(s) for s in (7.2, 750, 3723)] == ["0:07", "12:30", "1:02:03"]


def test_terminal_gets_a_bar_with_scores_and_time_left() -> None:
    screen = io.StringIO()
    with fit_progress(Console(file=screen, force_terminal=True, width=120)) as progress:
        progress(Epoch(3, 9, 0.25, 0.5, 0.75))
    assert re.search(r"3/9.*loss 0\.250, validation R2 0\.500, best 0\.750, 0:00 left", screen.getvalue())


def test_lines_tell_loss_scores_and_time_left(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = said(capsys, "train", str(cortex), "-o", str(tmp_path / "m"), *QUICK)
    number = r"-?\d+\.\d{3}"
    line = rf"epoch \d/2: loss {number}, validation R2 {number}, best {number}, \d+:\d\d left"
    assert re.search(rf"^{line}\n{line}\n\Z", err, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--units", "9"), "--units: expected none, as model {hash} keeps its own, got 9"),
        (("--horizon", "2"), "--horizon: expected none, as model {hash} keeps its own, got 2"),
        (("--lag", "2"), "--lag: expected none, as model {hash} keeps its own, got 2"),
        (("--lag", "auto"), "--lag: expected none, as model {hash} keeps its own horizon, got auto"),
    ],
)
def test_what_a_model_keeps_is_not_told_anew(
    tmp_path: Path, cortex: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    model = saved_model(tmp_path, small_model())
    told = ("train", str(cortex), "-o", str(tmp_path / "m"), "--fine-tune", str(model), *arguments)
    code, _, err = said(capsys, *told)
    assert (code, err) == (2, f"stream-rnn: {message.format(hash=load_model(model).hash)}\n")


def test_ensemble_tells_its_members_and_is_fine_tuned_and_evaluated_like_any_model(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, tuned = str(tmp_path / "m.safetensors"), str(tmp_path / "tuned.safetensors")
    _, out, err = said(capsys, "train", str(cortex), "-o", output, "--json", "--ensemble", "3", *QUICK)
    report = json.loads(out)
    assert len(report["members_validation_r2"]) == 3
    assert "epoch 6/6: loss " in err
    assert (
        str(load_model(Path(output)).card.architecture) == "12 inputs, 3 x (gru 8, gru 8), 2 linear outputs"
    )
    _, evaluated, _ = said(capsys, "evaluate", output, str(cortex), "--json")
    assert json.loads(evaluated)["test"] == report["test"]
    _, out, _ = said(capsys, "train", str(cortex), "-o", tuned, "--fine-tune", output, "--seed", "4")
    assert re.search(r"3 members, validation R2 -?0\.\d+ \(.* alone\), seeds 4 to 6, ", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "tuned.safetensors"]


def test_search_goes_before_an_ensemble(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.safetensors"
    told = ("--search", "2", "--ensemble", "2", *QUICK, "--window-s", "1", "--layers", "1")
    _, out, err = said(capsys, "train", str(cortex), "-o", str(output), "--json", *told)
    trials = [float(found) for found in re.findall(r"trial \d/2: .*: validation R2 (-?[\d.]+)", err)]
    assert len(trials) == 2
    assert json.loads(out)["members_validation_r2"][0] == pytest.approx(max(trials), abs=6e-4)


@pytest.mark.parametrize(
    ("decoder", "chosen"), [("wiener", {"lags", "strength"}), ("kalman", {"order", "noise"})]
)
def test_linear_decoder_is_fitted_and_tells_what_it_chose(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str, chosen: set[str]
) -> None:
    output = str(tmp_path / "m.safetensors")
    arguments = ("train", str(cortex), "-o", output, "--decoder", decoder, "--horizon", "2")
    _, trained, _ = said(capsys, *arguments, "--json")
    report = json.loads(trained)
    assert report["decoder"] == decoder
    assert set(report["chosen"]) == chosen | {"bin_ms"}
    assert report["validation"]["r2_mean"] > 0.2
    _, evaluated, _ = said(capsys, "evaluate", output, str(cortex), "--json")
    assert json.loads(evaluated)["test"] == report["test"]
    _, out, _ = said(capsys, *arguments)
    assert f"{decoder}, bin {report['chosen']['bin_ms']:g} ms, " in out
    _, out, _ = said(capsys, "info", output)
    assert decoder in out


def test_linear_decoder_tells_its_features_and_takes_lag_and_bin(
    cortex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, output = read_table(cortex), str(tmp_path / "m")
    lead = msgspec.structs.replace(recording, y=shifted(recording.y, 25))
    write_table(lead, tmp_path / "lead.npz")
    arguments = ("train", str(tmp_path / "lead.npz"), "-o", output, "--decoder", "wiener")
    _, out, err = said(capsys, *arguments, "--lag", "auto", "--bin-ms", "60", "--json")
    report = json.loads(out)
    lag = report["lag"]["samples"]
    assert -35 <= lag <= -15
    assert report["chosen"]["bin_ms"] == 60
    card = load_model(Path(output)).card
    assert (card.horizon, card.bin) == (lag, 6)
    assert f"{lag}: {report['lag']['validation_r2'][str(lag)]:.4f}" in card.provenance["lag_validation_r2"]  # type: ignore[operator]
    features, prior, told_lag, rest = err.split("\n")
    assert features == "--logarithm no: samples are counts: summed over a bin"
    assert prior == "--prior-s 0: one recording"
    assert told_lag.startswith(f"lag {lag} samples ({10 * lag} ms); ")
    assert not rest


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
        (
            ("--decoder", "wiener", "--units", "9"),
            2,
            "stream-rnn: --units: expected none beside --decoder wiener, got 9\n",
        ),
        (
            ("--decoder", "kalman", "--balance"),
            2,
            "stream-rnn: --balance: expected none beside --decoder kalman, got yes\n",
        ),
        (
            ("--decoder", "kalman", "--seed", "0"),
            2,
            "stream-rnn: --seed: expected none beside --decoder kalman, got 0\n",
        ),
        (
            ("--decoder", "wiener", "--search", "2"),
            2,
            "stream-rnn: --decoder: expected no --search beside it, got both\n",
        ),
        (
            ("--search", "2", "--resume"),
            2,
            "stream-rnn: --search: expected no --resume beside it, got both\n",
        ),
        (("--search", "-1"), 2, "stream-rnn: --search: expected trials, 0 or more, got -1\n"),
        (("--lag", "x"), 2, "stream-rnn: --lag: expected auto or a whole number of samples, got 'x'\n"),
        (("--lag", "3", "--horizon", "3"), 2, "stream-rnn: --lag: expected no --horizon beside it"),
        (("--resume",), 2, "stream-rnn: unused.safetensors.checkpoint: expected a checkpoint to go on from"),
        (("--targets", "v"), 1, "stream-rnn: recording "),
    ],
)
def test_mistake_is_one_line_before_any_work(
    cortex: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = said(capsys, "train", str(cortex), "-o", "unused.safetensors", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
