"""Samples over TCP and UDP, as many as get through: `python -m bench.bench_sockets`. Everything on one core.

The daemon decodes, steps network A, encodes and answers; an echo is the same transport without a model. 384
bytes of float32 a sample (wire f32), or the binary frame around them (wire frame). The client that sends them
has its part of the core: the second table says how much.
"""

import contextlib
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.networks import INPUTS, named, samples
from bench.ports import free_port, running_daemon, started
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.saturation import Rate, medians, saturated
from bench.socket_load import TcpLoad, UdpLoad
from stream_rnn.model.file import save_model
from stream_rnn.sample import Sample
from stream_rnn.wire import CODECS, WireName

LOADS: dict[str, type[TcpLoad | UdpLoad]] = {"tcp": TcpLoad, "udp": UdpLoad}
SOCKETS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
WINDOWS = {"tcp": 400, "udp": 64}
CASES: dict[str, tuple[str, WireName]] = {
    "TCP frames, wire frame": ("tcp", "frame"),
    "TCP frames, wire f32": ("tcp", "f32"),
    "UDP, wire frame": ("udp", "frame"),
    "UDP, wire f32": ("udp", "f32"),
}
DAEMON, ECHO = "stream-rnn, daemon", "stream-rnn, echo"
GOALS = {"TCP frames, wire frame": 100_000.0, "UDP, wire f32": 60_000.0}
"""Samples a second, at least, on the machine of the field notes."""


class Server(NamedTuple):
    """What answers on a port, in which case."""

    case: str
    candidate: str
    port: int
    pid: int


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """Rates, and the processor time that a sample takes."""
    rounds, seconds = (1, 0.3) if quick else (4, 0.8)
    x = samples(INPUTS)
    found: dict[Server, list[Rate]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = Path(folder) / "a.safetensors"
        save_model(named("A"), model)
        servers = list(serving(model, stack))
        for number in range(rounds):
            say(f"bench_sockets: round {number}")
            for server in servers:
                kind, wire = CASES[server.case]
                load = LOADS[kind](server.port, CODECS[wire].encode_sample(Sample("", None, None, x)))
                with contextlib.closing(load):
                    rate = saturated(load, WINDOWS[kind], seconds, server.pid)
                found.setdefault(server, []).append(rate)
    return findings({server: medians(rates) for server, rates in found.items()})


def serving(model: Path, stack: contextlib.ExitStack) -> Iterator[Server]:
    """Start a daemon for every case, and an echo for every kind of socket."""
    for case, (kind, wire) in CASES.items():
        port = free_port(SOCKETS[kind])
        settings = [f"{kind}.port={port}", f"{kind}.wire={wire}"]
        settings += ["tcp.framing=frames"] if kind == "tcp" else []
        yield Server(case, DAEMON, port, stack.enter_context(running_daemon(model, settings)).pid)
        port = free_port(SOCKETS[kind])
        command = [sys.executable, "-m", "bench.socket_echoes", kind, str(port)]
        yield Server(case, ECHO, port, stack.enter_context(started(command)).pid)


def findings(rates: dict[Server, Rate]) -> Findings:
    """Two tables and the goals."""
    per_s = [Row(at.case, at.candidate, {"median": rate.per_s}) for at, rate in rates.items()]
    costs = [
        Row(at.case, at.candidate, {"server": rate.cpu_us, "with the client": rate.all_cpu_us})
        for at, rate in rates.items()
    ]
    tables = (
        Table(
            title="Samples a second through a socket, client and server on one core",
            unit="1/s",
            ours=DAEMON,
            rows=tuple(per_s),
            no_peers=(ECHO,),
            better="higher",
        ),
        Table(
            title="Processor time of a sample",
            unit="us",
            ours=DAEMON,
            rows=tuple(costs),
            no_peers=(ECHO,),
        ),
    )
    goals = [
        Goal(f"samples a second, {at.case}, client on the same core", rate.per_s, GOALS[at.case], "at least")
        for at, rate in rates.items()
        if at.candidate == DAEMON and at.case in GOALS
    ]
    return Findings(tables=tables, goals=tuple(goals))


if __name__ == "__main__":
    main("bench.bench_sockets", __doc__, measure)
