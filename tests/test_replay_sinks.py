"""Where a replay can go: every sample arrives there, in order; what is no sink is told in one line."""

import asyncio
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.recordings.sinks import sink_of
from stream_rnn.sample import Sample

SAMPLES = [Sample("a", i, None, np.array([i], np.float32)) for i in range(50)]


async def sent_to(url: str) -> list[bool]:
    async with sink_of(url, "{stream}") as (send, drain):
        taken = [send(sample) for sample in SAMPLES]
        await drain()
    return taken


@pytest.mark.parametrize("scheme", ["udp", "unixgram"])
async def test_each_sample_is_a_datagram(scheme: str, tmp_path: Path) -> None:
    family = socket.AF_INET if scheme == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0) if scheme == "udp" else str(tmp_path / "s"))
        receiver.settimeout(5)
        url = (
            f"udp://127.0.0.1:{receiver.getsockname()[1]}" if scheme == "udp" else f"unixgram://{tmp_path}/s"
        )
        taken = await sent_to(url)
        got = [json.loads(receiver.recv(1 << 16)) for _ in range(sum(taken))]
    assert [fields["seq"] for fields in got] == [s.seq for s, ok in zip(SAMPLES, taken, strict=True) if ok]
    assert sum(taken) >= 10  # a Unix socket that nobody reads holds about ten; the rest is counted


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_each_sample_is_a_line_of_a_connection(scheme: str, tmp_path: Path) -> None:
    lines: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.extend([line async for line in reader])
        writer.close()

    if scheme == "tcp":
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(take, tmp_path / "s")
        url = f"unix://{tmp_path}/s"
    async with server:
        assert all(await sent_to(url))
    assert [json.loads(line)["seq"] for line in lines] == list(range(50))


@pytest.mark.parametrize(
    "url",
    ["http://a:1", "tcp://a", "tcp://a:x", "udp://:1", "unix://", "a.mcap", "mqtt://", "mqtt://a:99999"],
)
def test_what_is_no_sink_is_told_in_one_line(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        sink_of(url, "{stream}")
    known = "mqtt://, mqtts://, tcp://, unix://, udp://, unixgram://, or direct"
    assert str(raised.value) == f"--to: expected {known}, got {url!r}"


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
async def test_nobody_there_is_told_in_one_line(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=f"^{scheme}://{tmp_path}/none: No such file or directory$"):
        await sent_to(f"{scheme}://{tmp_path}/none")


def test_command_says_where_it_cannot_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("t_s,a\n0,1\n")
    assert main(["replay", str(tmp_path / "a.csv"), "--to", "ftp://x"]) == 2
    assert capsys.readouterr().err.startswith("stream-rnn: --to: expected mqtt://")
