"""Daemons that are killed lose nothing and change no bit; the long form is `bench/chaos.py`."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.chaos import chaos
from stream_rnn.predictor import Predictor
from tests.broker import BINARY, Mosquitto, free_port, needs_mosquitto, running_mosquitto
from tests.small import DaemonProcess, running_daemon, saved_model, small_model

MODEL = small_model()
XS = np.random.default_rng(3).poisson(2, (60, 5)).astype(np.float32)

pytestmark = [
    pytest.mark.mosquitto,
    needs_mosquitto,
    pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is not installed"),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    with running_mosquitto(tmp_path / "broker") as running:
        yield running


def test_kills_of_daemon_and_broker_lose_nothing_and_change_no_bit(tmp_path: Path) -> None:
    assert BINARY is not None
    outcome = chaos(tmp_path, BINARY, MODEL, kills=3, seed=2, streams=7, rate_hz=400, window=30, calm_s=0.4)
    assert (outcome.daemon, outcome.broker, outcome.both) == (2, 2, 1)
    assert (outcome.missing, outcome.different) == (0, 0)
    assert outcome.samples > 100


def options(folder: Path, broker: Mosquitto) -> list[str]:
    model = saved_model(folder, MODEL)
    settings = [f"mqtt.url=mqtt://127.0.0.1:{broker.port}", "mqtt.qos=1", "mqtt.clean_session=false"]
    settings += ["mqtt.client_id=decoder", "mqtt.publish_qos=1", f"state.path={folder / 's'}"]
    return ["--model", str(model), *(part for setting in settings for part in ("--set", setting))]


def publish(broker: Mosquitto, first: int, stop: int) -> None:
    lines = "".join(json.dumps({"seq": i, "x": XS[i].tolist()}) + "\n" for i in range(first, stop))
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "sensors/a/samples", "-l"]
    subprocess.run(command, input=lines, text=True, check=True, timeout=20)


def listening(broker: Mosquitto, topic: str, count: int, *more: str) -> "subprocess.Popen[str]":
    """`mosquitto_sub`, once it is subscribed."""
    command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(broker.port), "-q", "1", "-W", "30", "-d"]
    command += ["-t", topic, "-C", str(count), "-F", "payload %p", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "SUBACK" not in process.stdout.readline():
        assert process.poll() is None
    return process


def payloads(process: "subprocess.Popen[str]") -> list[str]:
    said, _ = process.communicate(timeout=40)
    return [line.removeprefix("payload ") for line in said.splitlines() if line.startswith("payload ")]


def test_stop_acknowledges_everything_and_the_next_start_goes_on(tmp_path: Path, broker: Mosquitto) -> None:
    predictions = "stream_rnn/decoder/predictions/a"
    watching = listening(broker, predictions, 60)
    with running_daemon(*options(tmp_path, broker)) as daemon:
        publish(broker, 0, 30)
        first = listening(broker, "stream_rnn/decoder/metrics", 1)
        assert json.loads(payloads(first)[0])["samples"]["stepped"] == 30
        assert daemon.stop() == 0
    publish(broker, 30, 60)  # while nobody is there
    with running_daemon(*options(tmp_path, broker)) as daemon:
        got = [json.loads(payload) for payload in payloads(watching)]
        assert daemon.stop() == 0
    assert daemon.lines[-1].endswith("30 samples stepped, 0 refused")  # none came again
    assert [p["seq"] for p in got] == list(range(60))
    assert (got[29]["flags"], got[30]["flags"]) == ([], ["restored"])
    ys = np.array([p["y"] for p in got], dtype=np.float32)
    np.testing.assert_array_equal(ys, Predictor(MODEL).run(XS, "a"))


def test_second_daemon_and_another_model_are_refused_in_one_line(tmp_path: Path, broker: Mosquitto) -> None:
    arguments = options(tmp_path, broker)
    with running_daemon(*arguments):
        second = DaemonProcess(*arguments)
        assert second.wait() == 1
        expected = (
            f"stream-rnn: state {tmp_path / 's'}: expected no other user, got one: another daemon has it"
        )
        assert second.lines[-1] == expected
    saved = small_model(seed=2)
    arguments = ["--model", str(saved_model(tmp_path, saved)), *arguments[2:]]
    other = DaemonProcess(*arguments)
    assert other.wait() == 1
    assert f"expected states of model {saved.hash}, got those of {MODEL.hash}; serve" in other.lines[-1]
    with running_daemon(*arguments, "--forget-state") as daemon:
        assert daemon.stop() == 0


def test_kill_over_tcp_loses_nothing_that_the_journal_has(tmp_path: Path) -> None:
    model, port = saved_model(tmp_path, MODEL), free_port()
    arguments = ["--model", str(model), "--listen", f"127.0.0.1:{port}"]
    arguments += ["--set", f"state.path={tmp_path / 's'}", "--set", "state.journal=true"]
    answers: list[dict[str, object]] = []
    for first in (0, 20, 40):
        with running_daemon(*arguments) as daemon:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                lines = [json.dumps({"stream": "a", "x": x.tolist()}) for x in XS[first : first + 20]]
                client.sendall("".join(f"{line}\n" for line in lines).encode())
                with client.makefile() as said:
                    answers += [json.loads(said.readline()) for _ in lines]
            daemon.process.kill()
    assert [answer["seq"] for answer in answers] == list(range(60))
    ys = np.array([answer["y"] for answer in answers], dtype=np.float32)
    np.testing.assert_array_equal(ys, Predictor(MODEL).run(XS, "a"))
