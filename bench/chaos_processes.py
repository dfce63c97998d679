"""What `bench.chaos` kills: a mosquitto with whatever it saved, and a daemon with its state on disk."""

import contextlib
import getpass
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from bench.ports import ROOT, TIMEOUT_S, free_port

INFLIGHT = 100


class Broker:
    """A mosquitto that saves what it holds once a second, which is what a kill leaves."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.port = free_port()
        (folder / "broker").mkdir()
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "max_queued_messages 0",
            f"max_inflight_messages {INFLIGHT}",
            "persistence true",
            "autosave_interval 1",
            f"persistence_location {folder / 'broker'}/",
            f"user {getpass.getuser()}",
        ]
        self._command = [binary, "-c", str(folder / "mosquitto.conf")]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, ""]), encoding="utf-8")
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Begin to start it."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def until_ready(self) -> None:
        """Return once it listens."""
        until(self._listens, "mosquitto does not listen")

    def _listens(self) -> bool:
        assert self._process.poll() is None, f"mosquitto ended by itself: {self._process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=0.1):
            return True
        return False

    def kill(self) -> None:
        """End it as a crash would: what it did not save is gone."""
        self._process.kill()
        self._process.wait()


class Daemon:
    """`stream-rnn run`, started anew after each kill; what it says is kept in daemon.log."""

    def __init__(self, folder: Path, port: int, window: int) -> None:
        settings = {
            "mqtt.url": f"mqtt://127.0.0.1:{port}",
            "mqtt.qos": 1,
            "mqtt.publish_qos": 1,
            "mqtt.clean_session": "false",
            "mqtt.client_id": "decoder",
            "mqtt.backoff_max_s": 0.2,
            "stream.reorder": window,
            "stream.restart_after": 0,
            "state.path": folder / "sessions.state",
            "state.answers": window,
            "state.answer_when": "durable",
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
        assert self._process.stderr is not None
        told = self._process.stderr, self._log, self._ready
        self._reader = threading.Thread(target=_read, args=told, name="daemon-stderr", daemon=True)
        self._reader.start()

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self._ready.is_set()

    def until_ready(self) -> None:
        """Return once it serves."""
        assert self._ready.wait(TIMEOUT_S), "the daemon is not ready"
        assert self._process.poll() is None, f"the daemon ended by itself: {self._log.read_text()[-2000:]}"

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def stop(self) -> None:
        """End it cleanly."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(TIMEOUT_S) == 0, f"it did not end cleanly: {self._log.read_text()[-2000:]}"


def _read(lines: IO[str], path: Path, ready: threading.Event) -> None:
    with lines, path.open("a", encoding="utf-8") as log:
        for line in lines:
            log.write(line)
            log.flush()
            if "ready" in line.split()[:2]:
                ready.set()
    ready.set()


def until(done: Callable[[], bool], otherwise: str) -> None:
    """Return once something holds.

    Raises:
        AssertionError: It does not, for too long.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
