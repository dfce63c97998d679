"""`stream-rnn demo` and `watch` as a user without a terminal sees them."""

import json
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import needs_mosquitto, running_mosquitto
from tests.small import running_daemon, saved_model, small_model

PROGRAM = [sys.executable, "-m", "stream_rnn"]


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text(encoding="ascii").split()] if found.exists() else []


def ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"


def wait_until_ended(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while not all(map(ended, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_demo_decodes_for_five_seconds_and_sums_up() -> None:
    done = subprocess.run(
        [*PROGRAM, "demo", "--seconds", "5"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = re.search(r"simulated: (\d+) of (\d+) samples decoded by model \w{12}", done.stdout)
    assert summary is not None, done.stdout
    decoded, sent = map(int, summary.groups())
    assert decoded == sent > 300
    scores = re.search(r"R2 against the truth: velocity_x (\S+), velocity_y (\S+)", done.stdout)
    assert scores is not None
    assert all(float(score) > 0.4 for score in scores.groups())
    assert "latency in the daemon: p50 " in done.stdout
    assert "simulated: " in done.stdout.splitlines()[0]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_interrupt_ends_the_demo_and_every_part_of_it() -> None:
    demo = subprocess.Popen([*PROGRAM, "demo"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert demo.stdout is not None
    next(text for text in demo.stdout if "truth" in text)
    children = children_of(demo.pid)
    assert len(children) >= 3
    demo.send_signal(signal.SIGINT)
    rest = demo.stdout.read()
    demo.stdout.close()
    assert demo.wait(15) == 0
    assert "samples decoded" in rest
    assert wait_until_ended(children)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_death_of_the_daemon_is_one_line_and_exit_one() -> None:
    pipe = subprocess.PIPE
    demo = subprocess.Popen([*PROGRAM, "demo"], stdout=pipe, stderr=pipe, text=True)
    assert demo.stdout is not None
    next(text for text in demo.stdout if "truth" in text)
    children = children_of(demo.pid)
    daemon = next(pid for pid in children if b"\0run\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    subprocess.run(["kill", "-9", str(daemon)], check=True)
    _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert errors.splitlines()[-1].startswith("stream-rnn: daemon: expected it to go on, got its end")
    assert wait_until_ended(children)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "x.npz"], 2, "stream-rnn: demo: expected --model with --data, got none"),
        (["--model", "x"], 2, "stream-rnn: demo: expected --data with --model, got none"),
        (["--rate", "0"], 2, "stream-rnn: --rate: expected a number above 0, got 0"),
        (["--data", "x.npz", "--model", "x"], 1, "stream-rnn: x: expected a model file, got no such file"),
    ],
)
def test_mistake_is_one_line(arguments: list[str], code: int, message: str) -> None:
    done = subprocess.run(
        [*PROGRAM, "demo", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (code, message + "\n")


def test_watch_without_a_broker_is_one_line_and_exit_one() -> None:
    command = [*PROGRAM, "watch", "--broker", "mqtt://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "stream-rnn: mqtt 127.0.0.1:1: Connection refused\n")


@pytest.mark.mosquitto
@needs_mosquitto
def test_watch_prints_each_prediction_as_a_json_line(tmp_path: Path) -> None:
    model = saved_model(tmp_path, small_model())
    with running_mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with running_daemon("--model", str(model), "--broker", url, "--set", "mqtt.wire=msgpack"):
            command = [*PROGRAM, "watch", "--broker", url, "--json", "--wire", "msgpack", "--stream", "a"]
            watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert watch.stdout is not None
            publish = ["mosquitto_pub", "-p", str(broker.port), "-s", "-t"]
            sample = b"\x95\x01\x02\x03\x04\x05"  # MessagePack's [1, 2, 3, 4, 5]
            deadline = time.monotonic() + 20
            lines: list[str] = []
            reader = iter(watch.stdout)
            while not lines and time.monotonic() < deadline:  # until it has subscribed
                subprocess.run([*publish, "sensors/b/samples"], input=sample, check=True)
                subprocess.run([*publish, "sensors/a/samples"], input=sample, check=True)
                if _readable(watch):
                    lines.append(next(reader))
            watch.send_signal(signal.SIGINT)
            watch.stdout.close()
            assert watch.wait(10) == 0
    got = json.loads(lines[0])
    assert (got["stream"], len(got["y"]), got["model"]) == ("a", 2, small_model().hash)
    assert got["t_published_ns"] > 0


def _readable(process: "subprocess.Popen[str]") -> bool:

    assert process.stdout is not None
    return bool(select.select([process.stdout.fileno()], [], [], 0.2)[0])
