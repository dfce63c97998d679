"""A real mosquitto for tests: on a free port, with a config of its own, killed and restarted at will."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BINARY = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
CONFIG = "set_tcp_nodelay true\n"
ANONYMOUS = "allow_anonymous true\n"

needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="mosquitto is not installed")


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker process on one port.

    Args:
        folder: Where its config lies; a fresh temporary one.
        config: More lines of mosquitto.conf; who may log in must be said.
    """

    def __init__(self, folder: Path, config: str = ANONYMOUS) -> None:
        self.port = free_port()
        self._path = folder / "mosquitto.conf"
        self._path.write_text(f"listener {self.port} 127.0.0.1\nuser {getpass.getuser()}\n{CONFIG}{config}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it listens."""
        assert BINARY is not None
        arguments = [BINARY, "-c", str(self._path)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert time.monotonic() < deadline, "mosquitto does not listen within 10 s"
            assert self._process.poll() is None, f"mosquitto ended with code {self._process.returncode}"

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Number of its process."""
        assert self._process is not None
        return self._process.pid

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=0.05):
            return True
        return False


@contextlib.contextmanager
def running_mosquitto(folder: Path, config: str = ANONYMOUS) -> Iterator[Mosquitto]:
    """Run a broker for as long as the context lasts."""
    broker = Mosquitto(folder, config)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
