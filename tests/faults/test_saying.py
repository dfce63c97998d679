"""A log that cannot be written stops no daemon: what was lost is counted, and told when it can be."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from stream_rnn.cli.saying import saying
from tests.broker import free_port
from tests.small import saved_model, small_model
from tests.tcp import Client, connected

X = np.ones(5, np.float32)


def test_line_is_written_as_it_is_said() -> None:
    with pipe() as (read, write):
        saying("text", write)("ready", "tcp")
        assert os.read(read, 1000)[9:] == b"ready        tcp\n"


def test_lines_that_nobody_reads_are_given_up_and_their_number_told() -> None:
    with pipe() as (read, write):
        say = saying("text", write)
        for _ in range(2000):
            say("refused", "x" * 89)
        lines = os.read(read, 1 << 20).splitlines()
        say("ready", "tcp")
        told = f"ready        tcp ({2000 - len(lines)} lines before could not be written)\n"
        assert os.read(read, 1000)[9:].decode() == told
        say("ready", "tcp")
        assert os.read(read, 1000)[9:] == b"ready        tcp\n"


def test_reader_that_went_away_is_no_error() -> None:
    with pipe() as (read, write):
        say = saying("json", write)
        os.close(read)
        for _ in range(3):
            say("ready", "tcp")
        with pytest.raises(BrokenPipeError):
            os.write(write, b"nobody reads")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_daemon_serves_with_its_log_on_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        serves_and_ends(tmp_path, full)


def serves_and_ends(folder: Path, stderr: IO[str]) -> None:
    """Start a daemon that says things there, ask it, and have it end with 0."""
    port = free_port()
    command = [sys.executable, "-m", "stream_rnn", "run", "--listen", f"127.0.0.1:{port}", "--model"]
    daemon = subprocess.Popen([*command, str(saved_model(folder, small_model()))], stderr=stderr)
    try:
        with connected(port) as client:
            assert [client.ask(X)["seq"] for _ in range(3)] == [0, 1, 2]
        with Client(port) as another:
            assert another.ask(X)["seq"] == 0
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    finally:
        daemon.kill()
        daemon.wait()


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends; closed afterwards where they still are open."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)
