"""`stream-rnn record`: a subscriber of its own, whose recordings prove the daemon it listened to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.model.file import load_model, save_model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.mcap import Entry, McapRecording
from stream_rnn.recordings.outside import Outside
from stream_rnn.recordings.proof import prove
from stream_rnn.sample import F32
from tests.broker import Mosquitto, needs_mosquitto, running_mosquitto
from tests.small import DaemonProcess, running_daemon, saved_model, small_model

XS: F32 = np.random.default_rng(3).poisson(2, (4000, 5)).astype(np.float32)


def sample(seq: int | None) -> Entry:
    payload = msgspec.json.encode({"seq": seq, "x": [1.0]})
    return Entry("samples", "a", 0, 0, seq or 0, payload)


def prediction(seq: int, *flags: str, missed: int = 0) -> Entry:
    fields: dict[str, Any] = {"v": 1, "stream": "a", "seq": seq, "session": "s", "y": [0.0], "model": "m"}
    fields |= {"flags": flags, "missed": missed, "t_source_ns": None}
    fields |= {"t_received_ns": 0, "t_stepped_ns": 0, "t_published_ns": 0}
    return Entry("predictions", "a", 0, 0, seq, msgspec.json.encode(fields))


def order(*entries: Entry) -> tuple[list[str], int, int]:
    outside = Outside(iter(entries))
    return [f"{e.kind[0]}{e.seq}" for e in outside], outside.skipped, outside.unseen


def test_stream_under_way_is_left_out_up_to_its_reset() -> None:
    entries = [sample(5), prediction(5), sample(6), prediction(6), sample(0), prediction(0, "reset")]
    assert order(*entries) == (["s0", "p0"], 2, 0)


def test_prediction_whose_sample_came_before_the_recording_is_left_out() -> None:
    entries = [prediction(4), sample(5), prediction(5), sample(0), prediction(0, "reset")]
    assert order(*entries) == (["s0", "p0"], 2, 0)


def test_prediction_that_came_before_its_sample_follows_it() -> None:
    entries = [sample(0), prediction(0, "reset"), prediction(1), prediction(2), sample(1), sample(2)]
    assert order(*entries) == (["s0", "p0", "s1", "p1", "s2", "p2"], 0, 0)


def test_samples_that_the_daemon_missed_are_left_out() -> None:
    entries = [
        sample(0),
        prediction(0, "reset"),
        *(sample(i) for i in range(1, 5)),
        prediction(4, "gap", missed=3),
    ]
    assert order(*entries) == (["s0", "p0", "s4", "p4"], 0, 3)


def test_samples_out_of_order_keep_theirs() -> None:
    entries = [sample(0), prediction(0, "reset"), sample(2), sample(1), prediction(1), prediction(2)]
    assert order(*entries) == (["s0", "p0", "s2", "s1", "p1", "p2"], 0, 0)


def test_samples_without_numbers_pair_with_predictions_one_by_one() -> None:
    entries = [sample(None), prediction(0, "reset"), sample(None), sample(None), prediction(1), prediction(2)]
    assert order(*entries)[0] == ["s0", "p0", "s0", "p1", "s0", "p2"]


def test_prediction_without_a_sample_is_kept_for_the_proof_to_name() -> None:
    entries = [sample(0), prediction(0, "reset"), prediction(1)]
    assert order(*entries) == (["s0", "p0", "p1"], 0, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path, "allow_anonymous true\nmax_queued_messages 0\n") as running:
        yield running


class Recording:
    """`stream-rnn record` as a user runs it."""

    def __init__(self, broker: Mosquitto, path: Path, *more: str) -> None:
        command = [sys.executable, "-m", "stream_rnn", "record", str(path), "--flush", "0.05"]
        url = f"mqtt://127.0.0.1:{broker.port}"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*command, "--broker", url, *more], stdout=pipe, stderr=pipe, text=True, env=os.environ.copy()
        )
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        assert "Traceback" not in err
        return out


def daemon_of(broker: Mosquitto, model: Path, *more: str) -> Any:
    url = f"mqtt://127.0.0.1:{broker.port}"
    return running_daemon("--model", str(model), "--broker", url, "--set", "mqtt.qos=1", *more)


def publish(broker: Mosquitto, numbers: range, stream: str = "a") -> None:
    lines = [msgspec.json.encode({"seq": i, "x": XS[i].tolist()}).decode() for i in numbers]
    topic = ["-t", f"sensors/{stream}/samples", "-l", "-q", "1"]
    subprocess.run(
        ["mosquitto_pub", "-p", str(broker.port), *topic],
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
    )


def wait_until(daemon: DaemonProcess, path: Path, count: int) -> None:
    """Return once so many predictions can be read from the file."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        entries = McapRecording(path).entries()
        if sum(entry.kind == "predictions" for entry in entries) >= count:
            return
    raise AssertionError(f"{path}: not {count} predictions within 20 s; {daemon.lines}")


@pytest.mark.mosquitto
@needs_mosquitto
def test_recorded_from_outside_it_proves_itself(tmp_path: Path, broker: Mosquitto) -> None:
    model = saved_model(tmp_path, small_model(bin_samples=2))
    path = tmp_path / "r.mcap"
    with daemon_of(broker, model) as daemon:
        publish(broker, range(3), "under-way")
        recording = Recording(broker, path, "--model", str(model))
        assert "connected" in recording.first
        publish(broker, range(1000))
        publish(broker, range(3, 6), "under-way")
        publish(broker, range(200, 300), "b")
        wait_until(daemon, path, 1103)
        assert recording.stop().startswith(f"{path}: 1103 samples, 1103 predictions, ")
    proof = prove(McapRecording(path))
    assert (proof.difference, proof.compared, proof.skipped) == (None, 1100, 3)
    assert (proof.exact, proof.whole) == (True, True)


@pytest.mark.mosquitto
@needs_mosquitto
def test_killed_recorder_leaves_a_file_that_reads_to_the_last_flush(
    tmp_path: Path, broker: Mosquitto
) -> None:
    model = saved_model(tmp_path, small_model())
    path = tmp_path / "r.mcap"
    with daemon_of(broker, model) as daemon:
        recording = Recording(broker, path)
        publish(broker, range(500))
        wait_until(daemon, path, 500)
        publish(broker, range(500, 510))
        recording.process.kill()
        recording.process.communicate(timeout=20)
    proof = prove(McapRecording(path), load_model(model))
    assert proof.difference is None
    assert proof.compared >= 500
    assert proof.whole is False


@pytest.mark.mosquitto
@needs_mosquitto
def test_another_model_begins_another_file(tmp_path: Path, broker: Mosquitto) -> None:
    model = saved_model(tmp_path, small_model())
    path, second = tmp_path / "r.mcap", tmp_path / "r-2.mcap"
    with daemon_of(broker, model) as daemon:
        recording = Recording(broker, path)
        publish(broker, range(50))
        wait_until(daemon, path, 50)
        save_model(small_model(seed=2), model)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded")
        publish(broker, range(50, 80))
        wait_until(daemon, second, 30)
        recording.stop()
    assert prove(McapRecording(path), small_model()).compared == 50
    assert McapRecording(second).header["model"] == Predictor(small_model(seed=2)).hash


@pytest.mark.mosquitto
@needs_mosquitto
def test_what_cannot_be_recorded_is_told_in_one_line(
    tmp_path: Path, broker: Mosquitto, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_rnn.cli.record.BIRTH_S", 0.2)
    url = f"mqtt://127.0.0.1:{broker.port}"
    assert main(["record", str(tmp_path / "r.mcap"), "--broker", url]) == 1
    expected = "stream_rnn/decoder/info: expected a daemon there, got nothing within 0.2 s"
    assert capsys.readouterr().err == f"stream-rnn: {expected}\n"


@pytest.mark.mosquitto
@needs_mosquitto
def test_daemon_that_counts_spikes_is_not_recorded_from_outside(
    tmp_path: Path, broker: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    model, url = saved_model(tmp_path, small_model()), f"mqtt://127.0.0.1:{broker.port}"
    with daemon_of(broker, model, "--set", "mqtt.wire=spikes_json"):
        assert main(["record", str(tmp_path / "r.mcap"), "--broker", url]) == 2
    expected = "record: expected a daemon that takes samples over MQTT, got 'spikes_json'"
    assert capsys.readouterr().err == f"stream-rnn: {expected}: its own [recording] has the rows\n"
