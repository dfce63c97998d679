"""Told to leave while it starts, a daemon leaves at once: one line, code 0, nobody left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import free_port
from tests.small import DaemonProcess, saved_model, small_model

BEFORE = "stopped      before it was ready"
SWALLOWED = """
import os, signal
from stream_rnn.cli.run import leaving_at_once
with leaving_at_once("text"):
    try:  # as a callback of the compiler does, or whatever cleans up
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        pass
print("goes on")
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(saved_model(tmp_path, small_model()))


def test_nothing_swallows_the_order_to_leave() -> None:
    command = [sys.executable, "-c", SWALLOWED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.rstrip().endswith(BEFORE)


def test_it_leaves_while_python_starts(model: str) -> None:
    daemon = DaemonProcess("--model", model, "--listen", "127.0.0.1:0")
    assert daemon.stop() in {0, -signal.SIGTERM}
    assert len(daemon.lines) <= 1


def test_it_leaves_while_it_compiles_and_takes_its_helper_along(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "empty"))
    daemon = DaemonProcess("--model", model, "--listen", "127.0.0.1:0")
    helpers = compiling(daemon.process.pid, tmp_path / "empty")
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(5) == 0  # as soon as the compiler has done one kernel
    daemon.wait()
    assert [line[9:] for line in daemon.lines] == [BEFORE]
    assert all(ended(helper) for helper in helpers)  # on one core there is none


@pytest.mark.parametrize("silent", [False, True])
def test_it_leaves_while_it_waits_for_the_broker(model: str, silent: bool) -> None:  # noqa: FBT001
    with contextlib.ExitStack() as stack:
        port = free_port()
        if silent:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listening.getsockname()[1]
        daemon = DaemonProcess("--model", model, "--broker", f"mqtt://127.0.0.1:{port}")
        if silent:
            listening.settimeout(60)
            stack.enter_context(listening.accept()[0])
        else:
            daemon.wait_for("retrying")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 3
    assert daemon.lines[-1].endswith("0 samples stepped, 0 refused")
    assert "Traceback" not in "".join(daemon.lines)


def compiling(pid: int, cache: Path) -> list[int]:
    """Its children, once something is being compiled."""
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text().split()) and not list(cache.rglob("*.nbi")):
        assert time.monotonic() < deadline, "nothing is compiled within 60 s"
    return [int(child) for child in found]


def ended(pid: int) -> bool:
    """Whether a process has ended, or does within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
    return False
