"""Evaluation: the daemon's predictions, offline, and their measures."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.errors import RecordingError
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, write_table
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import Decoded, decode, score
from tests.small import saved_model, small_model

CORTEX = simulate(10, 5, seed=4)


def stepped(xs: F32) -> F32:
    predictor = Predictor(small_model(bin_samples=4))
    return np.array([predictor.step(x) for x in xs])


def halves(recording: Recording) -> Recording:
    number = (np.arange(len(recording.x)) >= 500).astype(np.int32)
    return msgspec.structs.replace(recording, recording=number, recording_names=("a", "b"))


def test_decode_equals_stepping_the_whole_recording() -> None:
    decoded = decode(Predictor(small_model(bin_samples=4)), CORTEX, "test")
    np.testing.assert_array_equal(decoded.rows, np.flatnonzero(CORTEX.is_test))
    np.testing.assert_array_equal(decoded.y, stepped(CORTEX.x)[CORTEX.is_test])


def test_the_median_recording_is_told_where_there_are_several() -> None:
    truth: F32 = np.array([[0], [1], [0], [2], [0], [4]], dtype=np.float32)
    y: F32 = np.array([[0], [1], [0], [1], [4], [0]], dtype=np.float32)
    scores = score(Decoded(np.arange(6), y, truth, (0, 2, 4)), ("angle",))
    assert scores.r2_median == pytest.approx(0.5)  # of 1, .5 and -3
    assert scores.recordings == 3
    assert scores.r2_mean == pytest.approx(1 - 33 / (21 - 49 / 6))
    assert score(Decoded(np.arange(6), y, truth), ("angle",)).r2_median is None


def test_state_starts_anew_at_each_recording() -> None:
    decoded = decode(Predictor(small_model(bin_samples=4)), halves(CORTEX), "all")
    np.testing.assert_array_equal(decoded.y[:500], stepped(CORTEX.x[:500]))
    np.testing.assert_array_equal(decoded.y[500:], stepped(CORTEX.x[500:]))


def test_future_changes_nothing_before_it() -> None:
    predictor = Predictor(small_model(bin_samples=4))
    x = CORTEX.x.copy()
    x[600:] += 50
    changed = decode(predictor, msgspec.structs.replace(CORTEX, x=x), "all")
    np.testing.assert_array_equal(changed.y[:600], decode(predictor, CORTEX, "all").y[:600])


def test_truth_lies_the_horizon_ahead() -> None:
    model = small_model()
    card = msgspec.structs.replace(model.card, horizon=7)
    decoded = decode(Predictor(msgspec.structs.replace(model, card=card)), CORTEX, "all")
    np.testing.assert_array_equal(decoded.truth[:-7], CORTEX.y[7:])
    assert np.isnan(decoded.truth[-7:]).all()


def test_truth_lies_behind_where_the_horizon_is_negative() -> None:
    model = small_model()
    card = msgspec.structs.replace(model.card, horizon=-7)
    decoded = decode(Predictor(msgspec.structs.replace(model, card=card)), CORTEX, "all")
    np.testing.assert_array_equal(decoded.truth[7:], CORTEX.y[:-7])
    assert np.isnan(decoded.truth[:7]).all()


def test_measures_are_those_of_the_books() -> None:
    truth = np.array([[0, 1], [1, 1], [2, 1], [np.nan, 1]], dtype=np.float32)
    ys = np.array([[0, 1], [2, 1], [2, 1], [9, 1]], dtype=np.float32)
    scores = score(Decoded(np.arange(4), ys, truth), ("a", "b"))
    assert scores.r2 == {"a": 0.5, "b": None}
    assert scores.rmse == {"a": pytest.approx(3**-0.5), "b": 0.0}
    assert scores.correlation == {"a": pytest.approx(0.8660254), "b": None}
    assert (scores.r2_mean, scores.rows) == (0.5, 4)


def test_recording_that_does_not_fit_is_named() -> None:
    predictor = Predictor(small_model(6))
    with pytest.raises(
        RecordingError, match=r"^recording simulated.*: expected 6 features for model \w{12}, got 5$"
    ):
        decode(predictor, CORTEX, "test")


def test_command_prints_one_json_object_and_writes_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved_model(tmp_path, small_model(bin_samples=4))
    write_table(CORTEX, tmp_path / "cortex.npz")
    out = tmp_path / "p.npz"
    arguments = ["evaluate", str(model), str(tmp_path / "cortex.npz"), "--json", "--predictions", str(out)]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["test"]["r2"]) == {"v0", "v1"}
    np.testing.assert_array_equal(np.load(out)["y"], stepped(CORTEX.x)[CORTEX.is_test])


def test_baselines_are_shown_beside_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cortex = simulate(30, 5, seed=4)
    model = saved_model(tmp_path, small_model(bin_samples=4))
    write_table(cortex, tmp_path / "cortex.npz")
    arguments = ["evaluate", str(model), str(tmp_path / "cortex.npz"), "--baselines"]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["baselines"]) == {"wiener", "kalman"}
    for told in report["baselines"].values():
        assert told["test"]["r2_mean"] > report["test"]["r2_mean"]
        assert told["settings"]["bin_ms"] in {20, 50, 100, 200}
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "kalman" in out
    assert f"{report['baselines']['kalman']['test']['r2_mean']:.3f}" in out
    assert "wiener: bin " in out
