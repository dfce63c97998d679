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

from bench.peers.base import Absent

TIMEOUT_S = 60
ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_daemon(model: Path, settings: list[str]) -> Iterator[float]:
    """Serve a model with these keys of its config; yields the seconds until it said `ready`."""
    flags = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "stream_rnn", "run", "--model", str(model), *flags]
    began = time.monotonic()
    with ended(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)) as daemon:
        assert daemon.stderr is not None
        said = []
        for line in daemon.stderr:
            said.append(line)
            if "ready" in line.split()[:2]:
                break
        else:
            raise AssertionError(f"the daemon ended before it was ready: {''.join(said)}")
        yield time.monotonic() - began


@contextlib.contextmanager
def running_mosquitto(folder: Path) -> Iterator[int]:
    """Run a broker; yields its port.

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
    ]
    config.write_text("\n".join([*lines, ""]), encoding="utf-8")
    command = [binary, "-c", str(config)]
    with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)):
        deadline = time.monotonic() + TIMEOUT_S
        while not _listens(port):
            assert time.monotonic() < deadline, f"mosquitto does not listen within {TIMEOUT_S} s"
            time.sleep(0.02)
        yield port


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
