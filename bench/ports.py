"""The processes that a benchmark talks to: the daemon, and a real mosquitto; ended when it is done."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.peers.base import Absent

TIMEOUT_S = 60
ROOT = Path(__file__).parents[1]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Started(NamedTuple):
    """A process that is ready, and the seconds until it said so."""

    pid: int
    seconds: float


class Broker(NamedTuple):
    """A process that listens on a port."""

    port: int
    pid: int


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[Started]:
    """Start a program that says `ready` when it is.

    Raises:
        AssertionError: It ended before that.
    """
    began = time.monotonic()
    made = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with ended(made) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "ready" in line.split()[:2]:
                break
        else:
            raise AssertionError(f"{' '.join(command)} ended before it was ready: {''.join(said)}")
        yield Started(process.pid, time.monotonic() - began)


def running_daemon(model: Path, settings: list[str]) -> contextlib.AbstractContextManager[Started]:
    """Serve a model with these keys of its config."""
    flags = [part for setting in settings for part in ("--set", setting)]
    return started([sys.executable, "-m", "stream_rnn", "run", "--model", str(model), *flags])


@contextlib.contextmanager
def running_mosquitto(folder: Path, *settings: str) -> Iterator[Broker]:
    """Run a broker with these lines in its config.

    Raises:
        Absent: mosquitto is not installed.
    """
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise Absent("mosquitto is not installed")
    port, config = free_port(), folder / "mosquitto.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        f"user {getpass.getuser()}",
        "allow_anonymous true",
        "set_tcp_nodelay true",
        *settings,
    ]
    config.write_text("\n".join([*lines, ""]), encoding="utf-8")
    command = [binary, "-c", str(config)]
    made = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    with ended(made) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not _listens(port):
            assert time.monotonic() < deadline, f"mosquitto does not listen within {TIMEOUT_S} s"
            time.sleep(0.02)
        yield Broker(port, process.pid)


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """A process that is told to end, and waited for."""
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.05):
        return True
    return False
