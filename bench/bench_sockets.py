"""Samples over TCP and UDP through the daemon, on one core: `python -m bench.bench_sockets`.

The daemon decodes, steps network A, encodes and answers; an echo is the same transport without a model. 384
bytes of float32 a sample (wire f32), or the binary frame around them (wire frame). Rounds alternate.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.bench_mqtt import on_one_core, processor, versions
from bench.mqtt_load import cpu_ns
from bench.networks import INPUTS, NETWORKS, network
from bench.socket_load import TcpLoad, UdpLoad
from stream_rnn.model.file import save_model
from stream_rnn.sample import Sample
from stream_rnn.wire import CODECS, WireName

LOADS: dict[str, type[TcpLoad | UdpLoad]] = {"tcp": TcpLoad, "udp": UdpLoad}
WINDOWS = {"tcp": 400, "udp": 64}
ROWS: tuple[tuple[str, str, WireName], ...] = (
    ("echo", "tcp", "f32"),
    ("daemon", "tcp", "f32"),
    ("daemon", "tcp", "frame"),
    ("echo", "udp", "f32"),
    ("daemon", "udp", "f32"),
    ("daemon", "udp", "frame"),
)


def free_port(kind: str) -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(what: str, kind: str, wire: WireName, port: int, model: Path) -> "subprocess.Popen[str]":
    """A server that is ready."""
    command = [sys.executable, "-m", "bench.socket_echoes", kind, str(port)]
    if what == "daemon":
        settings: dict[str, object] = {f"{kind}.port": port, f"{kind}.wire": wire}
        settings |= {"tcp.framing": "frames"} if kind == "tcp" else {}
        command = [sys.executable, "-m", "stream_rnn", "run", "--model", str(model)]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    process = subprocess.Popen(  # our own
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if " ready " in f" {line.strip()} ":
            return process
    raise RuntimeError(f"{command} ended with {process.wait()}")


def measure(rounds: int = 5, seconds: float = 1.0) -> dict[str, Any]:
    """Every row: payloads a second, CPU microseconds a payload of the server and of both ends."""
    x = np.random.default_rng(1).standard_normal(INPUTS).astype(np.float32)
    found: dict[str, list[tuple[float, float, float]]] = {}
    started: dict[str, tuple[str, WireName, int, subprocess.Popen[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "a.safetensors"
        save_model(network(*NETWORKS["A LSTM50x3+Dense1"]), model)
        try:
            for what, kind, wire in ROWS:
                port = free_port(kind)
                started[f"{kind} {wire}, {what}"] = kind, wire, port, start(what, kind, wire, port, model)
            for _ in range(rounds):
                for name, (kind, wire, port, process) in started.items():
                    payload = CODECS[wire].encode_sample(Sample("", None, None, x))
                    load = LOADS[kind](port, payload)
                    pids = (process.pid, os.getpid())
                    before = [cpu_ns(pid) for pid in pids]
                    count, per_s = load.saturate(WINDOWS[kind], seconds)
                    spent = [(cpu_ns(p) - b) / 1000 / count for p, b in zip(pids, before, strict=True)]
                    found.setdefault(name, []).append((per_s, spent[0], sum(spent)))
                    load.close()
        finally:
            for _, _, _, process in started.values():
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
    rows = {}
    for name, each in found.items():
        medians = np.median(np.array(each), axis=0).tolist()
        rows[name] = dict(zip(("per_s", "cpu_us", "both_cpu_us"), medians, strict=True))
    return {
        "machine": processor(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": versions("numpy", "numba", "uvloop"),
        "rounds": rounds,
        "seconds": seconds,
        "rows": rows,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    core = on_one_core()
    found = measure(args.rounds, args.seconds)
    of = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    print(f"{found['date']}, {found['machine']}, one core (number {core}), {of}: python -m {__spec__.name}")
    print("\n| way | payloads/s | CPU us, server | CPU us, with load | a second of CPU |")
    print("|---|---|---|---|---|")
    for name, row in found["rows"].items():
        cells = f"{row['per_s']:.0f} | {row['cpu_us']:.1f} | {row['both_cpu_us']:.1f}"
        print(f"| {name} | {cells} | {1e6 / row['both_cpu_us']:.0f} |")


if __name__ == "__main__":
    main()
