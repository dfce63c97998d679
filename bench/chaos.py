"""Kills a daemon under load, again and again, and compares every prediction: `python -m bench.chaos`.

A daemon with `[state]`, `qos = 1` and `publish_qos = 1` serves many streams over a real mosquitto, which is
restarted now and then. A producer goes on publishing, a consumer goes on listening, both with qos 1; the
daemon is killed (SIGKILL) at random instants, while it starts too. At the end every sample must have been
answered, and every answer must be that of one uninterrupted run of the model, bit for bit. Writes
docs/reliability.md.
"""

import argparse
import contextlib
import getpass
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.machine import machine_line, today
from bench.networks import named
from bench.ports import ROOT, TIMEOUT_S, free_port
from bench.runner import say
from stream_rnn.model.file import save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

PAGE = ROOT / "docs" / "reliability.md"
PREDICTIONS = "stream_rnn/decoder/predictions/"
RING = 997  # different samples of a stream
BATCH_S = 0.01
BROKER_EVERY = 10  # kills between two restarts of the broker
EARLY = 0.2  # share of kills that meet a daemon while it starts
STREAMS, RATE_HZ = 50, 2000


class Outcome(NamedTuple):
    """What became of it.

    Attributes:
        kills: Of the daemon, of which so many while it started.
        early: These.
        restarts: Of the broker.
        samples: Published.
        missing: Samples never answered.
        different: Answers that are not those of an uninterrupted run.
        repeated: Answers that the consumer got more than once.
        outage_s: Longest time without any answer.
        seconds: It all took.
    """

    kills: int
    early: int
    restarts: int
    samples: int
    missing: int
    different: int
    repeated: int
    outage_s: float
    seconds: float


class Broker:
    """A mosquitto that remembers what it holds."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.port = free_port()
        (folder / "broker").mkdir()
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "max_queued_messages 0",
            "max_inflight_messages 100",
            "persistence true",
            f"persistence_location {folder / 'broker'}/",
            f"user {getpass.getuser()}",
        ]
        self._command = [binary, "-c", str(folder / "mosquitto.conf")]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, ""]), encoding="utf-8")
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def restart(self) -> None:
        """End it, which writes what it holds to disk, and start it again."""
        self.end()
        self._process = self._start()

    def end(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(TIMEOUT_S)


class Daemon:
    """`stream-rnn run`, started anew after each kill."""

    def __init__(self, folder: Path, port: int) -> None:
        settings = {
            "mqtt.url": f"mqtt://127.0.0.1:{port}",
            "mqtt.qos": 1,
            "mqtt.publish_qos": 1,
            "mqtt.clean_session": "false",
            "mqtt.client_id": "decoder",
            "mqtt.backoff_max_s": 0.2,
            "state.path": folder / "sessions.state",
        }
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        model = str(folder / "model.safetensors")
        self._command = [sys.executable, "-m", "stream_rnn", "run", "--model", model, *flags]
        self._log = folder / "daemon.log"
        self._process: subprocess.Popen[str]

    def start(self) -> None:
        """Begin to start it."""
        self._process = subprocess.Popen(self._command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self._ready = threading.Event()
        told = self._process.stderr, self._log, self._ready
        self._reader = threading.Thread(target=_read, args=told, name="daemon-stderr", daemon=True)
        self._reader.start()

    def until_ready(self) -> None:
        """Return once it serves."""
        assert self._ready.wait(TIMEOUT_S), "the daemon is not ready"
        assert self._process.poll() is None, "the daemon ended by itself: see daemon.log"

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def stop(self) -> None:
        """End it cleanly."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(TIMEOUT_S) == 0, "the daemon did not end cleanly: see daemon.log"


def _read(lines: IO[str], path: Path, ready: threading.Event) -> None:
    with lines, path.open("a", encoding="utf-8") as log:
        for line in lines:
            log.write(line)
            log.flush()
            if "ready" in line.split()[:2]:
                ready.set()
    ready.set()


class Producer:
    """Publishes numbered samples of many streams in turn, until it is told to stop."""

    def __init__(self, port: int, ring: F32, rate_hz: float) -> None:
        self.count = 0
        self._ring, self._per_batch = ring, max(1, round(rate_hz * BATCH_S))
        self._ending = threading.Event()
        self._client = _client("producer")
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._publish, name="producer")
        self._thread.start()

    def _publish(self) -> None:
        S, due = len(self._ring), time.monotonic()
        while not self._ending.is_set():
            for _ in range(self._per_batch):
                seq, stream = divmod(self.count, S)
                sample = {"seq": seq, "x": self._ring[stream, seq % RING].tolist()}
                self._client.publish(f"sensors/s{stream}/samples", msgspec.json.encode(sample), 1)
                self.count += 1
            due += BATCH_S
            self._ending.wait(max(0.0, due - time.monotonic()))

    def stop(self) -> int:
        """Publish no more; give the number of samples once the broker has them all."""
        self._ending.set()
        self._thread.join()
        _until(lambda: not self._client._out_messages, "the broker does not take the samples")  # noqa: SLF001 - no other way to ask
        self._client.disconnect()
        self._client.loop_stop()
        return self.count


class Consumer:
    """Keeps every prediction by stream and seq."""

    def __init__(self, port: int) -> None:
        self.answers: dict[tuple[str, int], list[list[float]]] = {}
        self.outage_s = 0.0
        self._last_s: float | None = None
        self._client = _client("consumer")
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREDICTIONS}#", 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        now_s = time.monotonic()
        if self._last_s is not None:
            self.outage_s = max(self.outage_s, now_s - self._last_s)
        self._last_s = now_s
        fields: dict[str, Any] = msgspec.json.decode(message.payload)
        self.answers.setdefault((fields["stream"], fields["seq"]), []).append(fields["y"])

    def stop(self, count: int) -> None:
        """Stop once so many samples are answered, or no more answers come."""
        _until(lambda: len(self.answers) >= count, f"expected answers to {count} samples", strict=False)
        self._client.disconnect()
        self._client.loop_stop()


def _client(name: str) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.reconnect_delay_set(1, 1)
    return client


def _until(done: Any, otherwise: str, *, strict: bool = True) -> None:  # noqa: ANN401 - a question
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        if time.monotonic() > deadline:
            assert not strict, otherwise
            return
        time.sleep(0.02)


def chaos(
    folder: Path,
    binary: str,
    model: Model,
    kills: int,
    seed: int,
    *,
    streams: int,
    rate_hz: float,
    calm_s: float,
) -> Outcome:
    """Kill a daemon so often.

    Args:
        folder: An empty one.
        binary: mosquitto.
        model: What is served.
        kills: How often.
        seed: Of the instants and of the samples.
        streams: How many.
        rate_hz: Samples a second, all streams together.
        calm_s: Longest time between ready and the next kill.
    """
    chance, began = random.Random(seed), time.monotonic()  # noqa: S311 - instants, no secrets
    save_model(model, folder / "model.safetensors")
    inputs = model.card.architecture.inputs
    ring = np.random.default_rng(seed).poisson(2, (streams, RING, inputs)).astype(np.float32)
    broker, early, restarts = Broker(folder, binary), 0, 0
    daemon = Daemon(folder, broker.port)
    with contextlib.ExitStack() as stack:
        stack.callback(broker.end)
        _until(lambda: _listens(broker.port), "mosquitto does not listen")
        daemon.start()
        stack.callback(daemon.kill)
        daemon.until_ready()
        consumer, producer = Consumer(broker.port), Producer(broker.port, ring, rate_hz)
        for number in range(kills):
            if chance.random() < EARLY:
                early += 1
                time.sleep(chance.uniform(0, 0.8))
            else:
                daemon.until_ready()
                time.sleep(chance.uniform(0, calm_s))
            daemon.kill()
            if number % BROKER_EVERY == BROKER_EVERY // 2 or (number == kills - 1 and not restarts):
                broker.restart()
                restarts += 1
            daemon.start()
            if number % 20 == 19:
                say(f"chaos: {number + 1} kills, {producer.count} samples")
        daemon.until_ready()
        count = producer.stop()
        consumer.stop(count)
        daemon.stop()
    missing, different, repeated = compare(consumer.answers, Predictor(model), ring, count)
    seconds = time.monotonic() - began
    return Outcome(kills, early, restarts, count, missing, different, repeated, consumer.outage_s, seconds)


def _listens(port: int) -> bool:
    import socket  # noqa: PLC0415 - once

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.1):
        return True
    return False


def compare(
    answers: dict[tuple[str, int], list[list[float]]], predictor: Predictor, ring: F32, count: int
) -> tuple[int, int, int]:
    """How many samples have no answer, how many answers are wrong, how many came again."""
    missing = different = 0
    for stream, xs in enumerate(ring):
        length = len(range(stream, count, len(ring)))
        expected = predictor.run(xs[np.arange(length) % RING], f"s{stream}")
        for seq in range(length):
            got = answers.get((f"s{stream}", seq), [])
            missing += not got
            different += sum(not np.array_equal(np.array(y, dtype=np.float32), expected[seq]) for y in got)
    repeated = sum(map(len, answers.values())) - len(answers)
    return missing, different, repeated


def page(outcome: Outcome, command: str) -> str:
    """The page that tells it."""
    rows = [
        ("kills of the daemon (SIGKILL)", outcome.kills),
        ("of these while it started", outcome.early),
        ("restarts of the broker", outcome.restarts),
        ("samples published (qos 1)", outcome.samples),
        ("**samples without a prediction**", f"**{outcome.missing}**"),
        ("**predictions unlike an uninterrupted run's, in any bit**", f"**{outcome.different}**"),
        ("predictions that the consumer got again", outcome.repeated),
        ("longest time without any prediction", f"{outcome.outage_s:.1f} s"),
        ("the run took", f"{outcome.seconds:.0f} s"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    intro = (__doc__ or "").partition("\n\n")[2].strip().removesuffix("Writes\ndocs/reliability.md.").strip()
    return (
        f"<!-- Made by bench/chaos.py: run it again. -->\n\n# Reliability\n\n{intro}\n\n"
        f"What is promised, and how, is in [durability.md](durability.md).\n\n| | |\n|---|---|\n{table}\n\n"
        f"{STREAMS} streams, {RATE_HZ} samples a second; {machine_line()}; {today()}; `{command}`\n"
    )


def main() -> None:
    """Run it as a program."""
    import shutil  # noqa: PLC0415 - once

    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often the daemon is killed (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the instants and the samples (1)")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    args = parser.parse_args()
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed")
    with tempfile.TemporaryDirectory() as folder:
        outcome = chaos(
            Path(folder),
            binary,
            named("A"),
            args.kills,
            args.seed,
            streams=STREAMS,
            rate_hz=RATE_HZ,
            calm_s=2.0,
        )
    told = page(outcome, f"python -m bench.chaos --kills {args.kills} --seed {args.seed} --write")
    print(told)
    if args.write:
        PAGE.write_text(told, encoding="utf-8")
    raise SystemExit(outcome.missing + outcome.different > 0)


if __name__ == "__main__":
    main()
