"""A daemon that is watched while it is loaded: its numbers, its memory, its descriptors."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.flood import Kind, Sent
from bench.ports import ROOT, free_port, running_daemon

ANSWER_S = 30.0


class Watched:
    """A daemon, seen from outside.

    Args:
        pid: Its process.
        port: Where samples go: its own, or the broker's.
        commands: Its command socket.
    """

    def __init__(self, pid: int, port: int, commands: Path) -> None:
        self.pid, self.port = pid, port
        self._commands = commands

    def status(self) -> dict[str, Any]:
        """Its numbers since the start."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_S)
            asking.connect(str(self._commands))
            asking.sendall(b'{"verb": "status"}\n')
            line = b""
            while not line.endswith(b"\n"):
                line += asking.recv(1 << 16)
        told: dict[str, Any] = msgspec.json.decode(line)
        found: dict[str, Any] = told["result"]
        return found

    @property
    def memory_mb(self) -> float:
        """Resident."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextlib.contextmanager
def watched(folder: Path, model: Path, kind: Kind, broker: int, *settings: str) -> Iterator[Watched]:
    """Serve a model over TCP frames, UDP frames, or MQTT, on a core of its own where there are two."""
    kinds = {"udp": socket.SOCK_DGRAM}
    port = broker if kind == "mqtt" else free_port(kinds.get(kind, socket.SOCK_STREAM))
    commands = folder / "commands.sock"
    ways = {
        "tcp": [f"tcp.port={port}", "tcp.framing=frames", "tcp.wire=frame"],
        "udp": [f"udp.port={port}", "udp.wire=frame"],
        "mqtt": [f"mqtt.url=mqtt://127.0.0.1:{port}", "mqtt.wire=frame"],
    }
    every = [*ways[kind], f"commands.path={commands}", *settings]
    with running_daemon(model, every) as daemon:
        for task in Path(f"/proc/{daemon.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {max(os.sched_getaffinity(0))})
        yield Watched(daemon.pid, port, commands)


def flooding(
    kind: Kind, port: int, rate_hz: float, seconds: float, streams: int
) -> "subprocess.Popen[bytes]":
    """A flood under way, on the other core where there is one."""
    order = [kind, str(port), str(rate_hz), str(seconds), str(streams)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.flood", *order], cwd=ROOT, stdout=subprocess.PIPE
    )
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    return process


def sent_by(process: "subprocess.Popen[bytes]") -> Sent:
    """What it sent, once it ended."""
    out, _ = process.communicate()
    return msgspec.json.decode(out, type=Sent)
