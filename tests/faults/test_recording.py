"""A disk that takes no more: told once, counted, the predictions go on, and what was written can be read."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.sample import F32
from tests.broker import free_port
from tests.small import DaemonProcess, running_daemon, saved_model, small_model
from tests.tcp import Client

XS: F32 = np.random.default_rng(8).poisson(2, (60, 5)).astype(np.float32)

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")


def samples_in(path: Path) -> int:
    return sum(entry.kind == "samples" for entry in McapRecording(path).entries())


def until_recorded(path: Path, count: int) -> None:
    """Return once so many samples can be read."""
    deadline = time.monotonic() + 20
    while samples_in(path) < count:
        assert time.monotonic() < deadline, f"{path}: not {count} samples within 20 s"


def test_full_disk_ends_the_recording_and_nothing_else_and_a_reload_begins_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, port, sock = saved_model(tmp_path, small_model()), free_port(), tmp_path / "s"
    path, again = tmp_path / "r.mcap", tmp_path / "r-2.mcap"
    settings = (f"recording.path={path}", "recording.flush_s=0.02", f"commands.path={sock}")
    options = [part for setting in settings for part in ("--set", setting)]
    with (
        running_daemon("--model", str(model), "--listen", f"127.0.0.1:{port}", *options) as daemon,
        Client(port) as client,
    ):
        for x in XS[:20]:
            client.ask(x)
        until_recorded(path, 20)
        limit(daemon, path.stat().st_size + 10)  # of the next chunk ten bytes fit
        answers = [client.ask(x) for x in XS[20:40]]
        told = daemon.wait_for("recording_failed", "recording")
        assert told.endswith(f"{path}: File too large; it ends here, and what follows is counted")
        answers += [client.ask(XS[40])]
        assert [answer["seq"] for answer in answers] == list(range(20, 41))
        assert main(["ctl", "status", "--socket", str(sock), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unrecorded"] >= 2
        limit(daemon, resource.RLIM_INFINITY)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded")
        for x in XS[41:]:
            client.ask(x)
        until_recorded(again, 19)
        assert daemon.stop() == 0
    assert samples_in(path) == 20
    for recording in (path, again):
        assert main(["replay", str(recording), "--verify"]) == 0
        assert "equal bit for bit" in capsys.readouterr().out


def limit(daemon: DaemonProcess, size: int) -> None:
    """No file of that process may grow beyond so many bytes."""
    hard = resource.RLIM_INFINITY
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write to, root neither."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        return
    mounting = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        pytest.skip("root writes everywhere, and may not mount here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_read_only_disk_is_told_in_one_line_before_anything_is_served(
    tmp_path: Path, read_only: Path
) -> None:
    model, path = saved_model(tmp_path, small_model()), read_only / "r.mcap"
    options = ("--listen", f"127.0.0.1:{free_port()}", "--set", f"recording.path={path}")
    daemon = DaemonProcess("--model", str(model), *options)
    assert daemon.wait() == 2
    said = [line for line in daemon.lines if line.startswith("stream-rnn:")]
    reason = "Read-only file system" if os.geteuid() == 0 else "Permission denied"
    assert said == [f"stream-rnn: recording.path '{path}': expected a new file, got {reason}"]
    assert daemon.lines[-1] == said[0]
