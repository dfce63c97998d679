"""The whole program as its users run it: a real broker, real clients, real recordings, a real process."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.model.file import save_model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import read_table, write_table
from stream_rnn.sample import F32, Prediction, Sample
from stream_rnn.training.evaluate import decode, score
from stream_rnn.training.fit import fit
from stream_rnn.training.options import Options
from stream_rnn.transports.cut import CUTTERS
from stream_rnn.wire import CODECS
from tests.broker import Mosquitto, free_port, needs_mosquitto, running_mosquitto
from tests.small import DaemonProcess, running_daemon, saved_model, small_model

pytestmark = [
    pytest.mark.mosquitto,
    needs_mosquitto,
    pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is not installed"),
]

PREDICTIONS = "stream_rnn/decoder/predictions/"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path, "allow_anonymous true\nmax_queued_messages 0\n") as running:
        yield running


class Subscriber:
    """`mosquitto_sub`, subscribed before anything is published."""

    def __init__(self, broker: Mosquitto, topic: str, count: int) -> None:
        options = ["-t", topic, "-v", "-d", "-q", "1", "-C", str(count), "-W", "60"]
        command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(broker.port), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._lines = iter(self._process.stdout)
        next(line for line in self._lines if "received SUBACK" in line)

    def payloads(self) -> list[dict[str, Any]]:
        """The payload of each message, once there are `count` of them (or a minute passed)."""
        found = [line.rstrip().partition(" ") for line in self._lines if line.startswith("stream_rnn/")]
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert self._process.wait(10) == 0, f"got only {len(found)} messages"
        return [json.loads(payload) for _, _, payload in found]


def publish(broker: Mosquitto, topic: str, payloads: list[str]) -> None:
    """Each payload as a message of its own, by `mosquitto_pub`."""
    command = ["mosquitto_pub", "-p", str(broker.port), "-t", topic, "-l", "-q", "1"]
    subprocess.run(command, input="\n".join(payloads) + "\n", text=True, check=True, timeout=60)


def by_hand(x: F32, seq: int) -> str:
    """A sample as a person writes it."""
    return f'{{"seq": {seq}, "x": [{", ".join(f"{value:g}" for value in x)}]}}'


@contextlib.contextmanager
def daemon_of(
    broker: Mosquitto, folder: Path, *more: str, width: int = 5, bin_samples: int = 1
) -> Iterator[DaemonProcess]:
    model = saved_model(folder, small_model(width, bin_samples=bin_samples))
    url = f"mqtt://127.0.0.1:{broker.port}"
    with running_daemon("--model", str(model), "--broker", url, "--set", "mqtt.qos=1", *more) as daemon:
        yield daemon


def ys(predictions: list[dict[str, Any]]) -> F32:
    return np.array([prediction["y"] for prediction in predictions], dtype=np.float32)


@pytest.mark.data
def test_samples_by_hand_are_decoded_as_evaluate_decodes_them(
    broker: Mosquitto, tmp_path: Path, shared_data: Path
) -> None:
    recording = read_table(shared_data / "indy_20160927_04.npz")
    xs = recording.x[recording.is_test][:200]
    with daemon_of(broker, tmp_path, width=30, bin_samples=4):
        subscriber = Subscriber(broker, PREDICTIONS + "#", len(xs))
        publish(broker, "sensors/indy/samples", [by_hand(x, i) for i, x in enumerate(xs)])
        got = subscriber.payloads()
    assert [p["seq"] for p in got] == list(range(200))
    assert got[0]["flags"] == ["reset", "warmup"]
    assert got[4]["flags"] == []
    assert got[0]["t_received_ns"] <= got[0]["t_stepped_ns"] <= got[0]["t_published_ns"]
    np.testing.assert_array_equal(ys(got), Predictor.load(tmp_path / "model.safetensors").run(xs))


@pytest.mark.data
def test_whole_test_part_arrives_in_order_and_scores_as_evaluate_says(
    broker: Mosquitto, tmp_path: Path, shared_data: Path
) -> None:
    recording = read_table(shared_data / "indy_20160927_04.npz")
    model = fit([recording], Options(seed=1, epochs=12), lambda _: None).model
    save_model(model, tmp_path / "trained.safetensors")
    rows = np.flatnonzero(recording.is_test)
    arrays = {name: getattr(recording, name)[rows] for name in ("x", "y", "is_test", "recording")}
    offline = decode(Predictor(model), msgspec.structs.replace(recording, **arrays), "test")
    url, qos = f"mqtt://127.0.0.1:{broker.port}", ("--set", "mqtt.qos=1", "--set", "mqtt.publish_qos=1")
    with running_daemon("--model", str(tmp_path / "trained.safetensors"), "--broker", url, *qos):
        subscriber = Subscriber(broker, PREDICTIONS + "indy", len(offline.y))
        xs = recording.x[recording.is_test]
        began = time.monotonic()
        publish(broker, "sensors/indy/samples", [by_hand(x, i) for i, x in enumerate(xs)])
        got = subscriber.payloads()
        seconds = time.monotonic() - began
    assert [p["seq"] for p in got] == list(range(len(xs)))
    np.testing.assert_array_equal(ys(got), offline.y)
    live = msgspec.structs.asdict(score(offline._replace(y=ys(got)), recording.y_names))
    assert live == msgspec.structs.asdict(score(offline, recording.y_names))
    assert live["r2_mean"] > 0.4  # trained for two seconds only
    assert seconds < len(xs) / recording.rate_hz


@pytest.mark.parametrize("framing", ["lines", "frames"])
def test_tcp_clients_are_each_a_stream_and_get_their_answers_in_order(tmp_path: Path, framing: str) -> None:
    xs = np.random.default_rng(5).poisson(2, (2, 300, 5)).astype(np.float32)
    codec, cutter = CODECS["json" if framing == "lines" else "frame"], CUTTERS[framing](1 << 20)  # type: ignore[index]
    model, port = saved_model(tmp_path, small_model()), free_port()
    options = ("--listen", f"127.0.0.1:{port}", "--set", f"tcp.framing={framing}")
    answers: list[list[Prediction]] = []
    with (
        running_daemon("--model", str(model), *options),
        socket.create_connection(("127.0.0.1", port)) as a,
        socket.create_connection(("127.0.0.1", port)) as b,
    ):
        for client, rows in ((a, xs[0]), (b, xs[1])):
            payloads = [codec.encode_sample(Sample("", i, None, x)) for i, x in enumerate(rows)]
            client.sendall(cutter.join(payloads))
        for client in (a, b):
            got: list[Prediction] = []
            while len(got) < 300:
                got += [codec.decode_prediction(answer)[0] for answer in cutter.feed(client.recv(1 << 16))]
            answers.append(got)
    predictor = Predictor.load(model)
    for i, got in enumerate(answers):
        assert [p.seq for p in got] == list(range(300))
        np.testing.assert_array_equal(np.array([p.y for p in got]), predictor.run(xs[i], f"client {i}"))


def test_broker_restart_in_mid_stream_is_survived_and_the_gap_flagged(
    broker: Mosquitto, tmp_path: Path
) -> None:
    xs = np.random.default_rng(3).poisson(2, (30, 5)).astype(np.float32)
    payloads = [by_hand(x, i) for i, x in enumerate(xs)]
    with daemon_of(broker, tmp_path, "--set", "mqtt.backoff_max_s=0.2") as daemon:
        first = Subscriber(broker, PREDICTIONS + "a", 10)
        publish(broker, "sensors/a/samples", payloads[:10])
        before = first.payloads()
        broker.kill()
        daemon.wait_for("disconnected")
        daemon.lines.clear()
        broker.start()
        daemon.wait_for("connected")
        second = Subscriber(broker, PREDICTIONS + "a", 15)
        publish(broker, "sensors/a/samples", payloads[15:])
        after = second.payloads()
    assert [p["seq"] for p in before + after] == [*range(10), *range(15, 30)]
    assert (after[0]["flags"], after[0]["missed"]) == (["gap"], 5)
    held = np.concatenate([xs[:10], np.repeat(xs[9:10], 5, axis=0), xs[15:]])
    offline = Predictor.load(tmp_path / "model.safetensors").run(held)
    np.testing.assert_array_equal(ys(before + after), np.delete(offline, range(10, 15), axis=0))


def test_thousand_malformed_payloads_between_good_ones_are_counted_by_reason(
    broker: Mosquitto, tmp_path: Path
) -> None:
    xs = np.random.default_rng(4).poisson(2, (250, 5)).astype(np.float32)
    bad = ["{", '{"x": "five"}', "[1, 2, 3]", '{"seq": -1, "x": [1, 2, 3, 4, 5]}']
    payloads = [text for i, x in enumerate(xs) for text in (by_hand(x, i), *bad)]
    with daemon_of(broker, tmp_path) as daemon:
        subscriber = Subscriber(broker, PREDICTIONS + "a", len(xs))
        metrics = Subscriber(broker, "stream_rnn/decoder/metrics", 3)
        publish(broker, "sensors/a/samples", payloads)
        got = subscriber.payloads()
        told = metrics.payloads()
        assert daemon.stop() == 0
    assert told[-1]["refused"] == {"syntax": 250, "fields": 500, "width": 250}
    assert [p["seq"] for p in got] == list(range(250))
    np.testing.assert_array_equal(ys(got), Predictor.load(tmp_path / "model.safetensors").run(xs))
    assert daemon.lines[-1].endswith("250 samples stepped, 1000 refused")


def test_recording_over_a_real_broker_proves_itself_and_survives_a_kill(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xs = np.random.default_rng(6).poisson(2, (400, 5)).astype(np.float32)
    file = tmp_path / "r.mcap"
    options = (
        "--set",
        f"recording.path={file}",
        "--set",
        "recording.flush_s=0.05",
        "--set",
        "recording.states_every=50",
    )
    with daemon_of(broker, tmp_path, *options) as daemon:
        subscriber = Subscriber(broker, PREDICTIONS + "a", len(xs))
        publish(broker, "sensors/a/samples", [by_hand(x, i) for i, x in enumerate(xs)])
        assert len(subscriber.payloads()) == len(xs)
        metrics = Subscriber(broker, "stream_rnn/decoder/metrics", 2)
        metrics.payloads()  # more than a flush later
        daemon.process.kill()
        daemon.wait()
    assert main(["replay", str(file), "--verify"]) == 0
    told = capsys.readouterr().out
    assert "not closed properly; replayed as far as it goes" in told
    assert "400 samples replayed, 400 predictions compared, equal bit for bit" in told


def test_replay_over_a_real_broker_repeats_the_predictions(broker: Mosquitto, tmp_path: Path) -> None:
    write_table(simulate(3, 5, seed=1), tmp_path / "t.npz")
    with daemon_of(broker, tmp_path):
        subscriber = Subscriber(broker, PREDICTIONS + "#", 300)
        url = f"mqtt://127.0.0.1:{broker.port}"
        assert (
            main(["replay", str(tmp_path / "t.npz"), "--to", url, "--rate", "10", "--remap", "simulated:=a"])
            == 0
        )
        got = subscriber.payloads()
    offline = Predictor.load(tmp_path / "model.safetensors").run(simulate(3, 5, seed=1).x)
    assert [p["seq"] for p in got] == list(range(300))
    np.testing.assert_array_equal(ys(got), offline)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_cleanly_and_says_offline(
    broker: Mosquitto, tmp_path: Path, number: signal.Signals
) -> None:
    with daemon_of(broker, tmp_path) as daemon:
        subscriber = Subscriber(broker, "stream_rnn/decoder/status", 2)
        assert daemon.stop(number) == 0
        states = [payload["status"] for payload in subscriber.payloads()]
    assert states == ["online", "offline"]


def test_killed_daemon_is_reported_offline_by_the_broker(broker: Mosquitto, tmp_path: Path) -> None:
    with daemon_of(broker, tmp_path) as daemon:
        subscriber = Subscriber(broker, "stream_rnn/decoder/status", 2)
        daemon.process.kill()
        online, offline = subscriber.payloads()
    assert (online["status"], offline["status"]) == ("online", "offline")
    assert online["session"] == offline["session"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["missing.toml"],
            2,
            "stream-rnn: missing.toml: expected a config file, got No such file or directory",
        ),
        (
            ["--model", "missing.safetensors", "--broker", "mqtt://127.0.0.1:1"],
            1,
            "stream-rnn: missing.safetensors: expected a model file, got no such file",
        ),
        (
            ["--model", "m", "--broker", "http://x"],
            2,
            "stream-rnn: config: mqtt.url: expected mqtt://host[:port]",
        ),
        (
            ["--model", "m", "--set", "mqtt.qos"],
            2,
            "stream-rnn: --set: expected SECTION.KEY=VALUE, got 'mqtt.qos'",
        ),
    ],
)
def test_mistake_ends_with_one_line(arguments: list[str], code: int, said: str) -> None:
    daemon = DaemonProcess(*arguments)
    assert daemon.wait() == code
    assert len(daemon.lines) == 1
    assert daemon.lines[0].startswith(said)


def stepped(daemon: DaemonProcess) -> int:
    """What the daemon says it stepped when it has ended."""
    return int(daemon.wait_for("stopped").split("stopped")[1].split()[0])


def test_stop_under_load_publishes_a_prediction_for_every_sample_taken_in(
    broker: Mosquitto, tmp_path: Path
) -> None:
    watching = ["mosquitto_sub", "-p", str(broker.port), "-q", "1", "-v", "-t", "stream_rnn/decoder/#"]
    lines = "\n".join(by_hand(np.ones(5, np.float32), i) for i in range(30_000)) + "\n"
    topic = ["-t", "sensors/a/samples", "-l", "-q", "1"]
    with daemon_of(broker, tmp_path, "--set", "mqtt.publish_qos=1") as daemon:
        subscriber = subprocess.Popen(["stdbuf", "-oL", *watching], stdout=subprocess.PIPE, text=True)
        assert subscriber.stdout is not None
        said = iter(subscriber.stdout)
        publisher = subprocess.Popen(["mosquitto_pub", "-p", str(broker.port), *topic], stdin=subprocess.PIPE)
        assert publisher.stdin is not None
        publisher.stdin.write(lines.encode())
        publisher.stdin.close()
        predictions = sum("/predictions/" in next(said) for _ in range(500))
        daemon.process.send_signal(signal.SIGTERM)
        for line in said:
            predictions += "/predictions/" in line
            if line.startswith("stream_rnn/decoder/status") and "offline" in line:
                break
        assert daemon.wait() == 0
        publisher.kill()
        publisher.wait()
        subscriber.kill()
        subscriber.wait()
        subscriber.stdout.close()
    assert 500 < predictions == stepped(daemon) < 30_000


def test_stop_under_load_answers_every_sample_taken_in_over_tcp(tmp_path: Path) -> None:
    port, model = free_port(), saved_model(tmp_path, small_model())
    lines = "".join(by_hand(np.ones(5, np.float32), i) + "\n" for i in range(200_000)).encode()
    with (
        running_daemon("--model", str(model), "--listen", f"127.0.0.1:{port}") as daemon,
        socket.create_connection(("127.0.0.1", port), timeout=20) as client,
    ):
        sending = threading.Thread(target=send_until_closed, args=(client, lines), name="send")
        sending.start()
        answers = client.recv(1 << 16)
        daemon.process.send_signal(signal.SIGTERM)
        while more := received(client):
            answers += more
        sending.join()
        assert daemon.wait() == 0
    assert 0 < answers.count(b"\n") == stepped(daemon) < 200_000


def send_until_closed(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(data)


def received(client: socket.socket) -> bytes:
    """What arrives; nothing at the end."""
    try:
        return client.recv(1 << 16)
    except ConnectionResetError:
        return b""


def test_flood_waits_at_the_broker_until_the_answers_have_left(broker: Mosquitto, tmp_path: Path) -> None:
    samples = [by_hand(np.ones(5, np.float32), i) for i in range(5000)]
    small = ["--set", "mqtt.max_outgoing=100", "--set", "mqtt.publish_qos=1"]
    with daemon_of(broker, tmp_path, *small) as daemon:
        subscriber = Subscriber(broker, f"{PREDICTIONS}a", len(samples))
        publish(broker, "sensors/a/samples", samples)
        assert [p["seq"] for p in subscriber.payloads()] == list(range(5000))
        assert daemon.stop() == 0
