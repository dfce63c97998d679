"""The whole way at 1 kHz, from the intended send time to the prediction: `python -m bench.bench_pipeline`.

Network A, 96 float32 features. The daemon is a process of its own, and so is its client; beside it, the same
network in an ezmsg pipeline, with its source and its sink. All take turns; none is pinned to one core, which
ezmsg's threads need.
"""

import contextlib
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bench.networks import INPUTS, named, samples
from bench.open_loop import Opener, latencies_us, mqtt, tcp, udp, unix
from bench.peers.base import Absent, module
from bench.ports import free_port, running_daemon, running_mosquitto
from bench.report import Findings, Goal, Histogram, Row, Table
from bench.runner import main, say
from bench.timing import Times, percentiles
from stream_rnn.model.file import save_model

RATE_HZ = 1000.0
EDGES_US = [float(10 ** (k / 20)) for k in range(20, 121)]
"""From 10 us to 1 s, twenty steps a decade."""
TCP, UNIX, UDP, MQTT = (
    f"stream-rnn, {name}" for name in ("TCP frames", "Unix frames", "UDP f32", "MQTT QoS 0")
)
ONE, EACH = "ezmsg, one process", "ezmsg, a process each"
GOALS = {TCP: 0.2, UNIX: 0.2, UDP: 0.2, MQTT: 0.5}
"""Part of ezmsg's p50 and p99, at most."""
POINTS = (50, 99, 99.9, 100)
ROOT = Path(__file__).parents[1]

KEYS = itertools.count()

Run = Callable[[int], Times]
"""Sends so many samples: microseconds from when each was due to its prediction."""


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """One table, a histogram, the goals."""
    rounds, count = (1, 1500) if quick else (2, 5000)
    found: dict[str, list[Times]] = {}
    with tempfile.TemporaryDirectory() as made, serving(Path(made)) as (openers, skipped):
        runs: dict[str, Run] = {name: partial(run_ours, opener) for name, opener in openers.items()}
        peers, absent = ezmsg_runs(Path(made))
        for number in range(rounds):
            for name, run in (runs | peers).items():
                say(f"bench_pipeline: round {number}, {name}")
                late = run(count)[count // 10 :]  # the first find cold caches and caches of names
                found.setdefault(name, []).append(late)
    return findings({name: np.concatenate(parts) for name, parts in found.items()}, skipped | absent)


def findings(times: dict[str, Times], skipped: dict[str, str]) -> Findings:
    """The table, the goals and the histograms of all latencies."""
    rows = [Row("1 kHz", name, percentiles(found, *POINTS)) for name, found in times.items()]
    table = Table(
        title="From the intended send time to the prediction, network A at 1 kHz",
        unit="us",
        ours=TCP,
        rows=tuple(rows),
        no_peers=(UNIX, UDP, MQTT),
        note="A p50 of many milliseconds: the pipeline does not keep up, samples wait for one another.",
    )
    goals = []
    if ONE in times:
        theirs = percentiles(times[ONE])
        goals = [
            Goal(f"{name}: {figure} over ezmsg's in one process", ours[figure] / theirs[figure], limit)
            for name, limit in GOALS.items()
            if name in times
            for ours in (percentiles(times[name]),)
            for figure in ours
        ]
    histograms = [
        Histogram(name, EDGES_US, np.histogram(found, EDGES_US)[0].tolist()) for name, found in times.items()
    ]
    return Findings(tables=(table,), goals=tuple(goals), skipped=skipped, histograms=tuple(histograms))


def run_ours(opener: Opener, count: int) -> Times:
    """Against the daemon that is running."""
    link = opener(f"bench-{next(KEYS)}")  # a key used before would have samples with these numbers already
    try:
        return latencies_us(link, samples(INPUTS), RATE_HZ, count)
    finally:
        link.socket.close()
        time.sleep(0.2)  # the daemon says goodbye to it


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[dict[str, Opener], dict[str, str]]]:
    """A daemon with every way in, and a real broker where there is one: how to open each, what is missing."""
    model, path = folder / "a.safetensors", folder / "samples.sock"
    save_model(named("A"), model)
    ports = {name: free_port() for name in ("tcp", "udp")}
    settings = [f"tcp.port={ports['tcp']}", "tcp.framing=frames", f"unix.path={path}", "unix.framing=frames"]
    settings += [f"udp.port={ports['udp']}", "udp.wire=f32"]
    openers: dict[str, Opener] = {
        TCP: partial(tcp, ports["tcp"]),
        UNIX: partial(unix, path),
        UDP: partial(udp, ports["udp"]),
    }
    with contextlib.ExitStack() as stack:
        skipped = {}
        try:
            broker = stack.enter_context(running_mosquitto(folder))
            settings += [f"mqtt.url=mqtt://127.0.0.1:{broker.port}", "mqtt.wire=frame"]
            openers[MQTT] = partial(mqtt, broker.port)
        except Absent as why:
            skipped[MQTT] = str(why)
        stack.enter_context(running_daemon(model, settings))
        yield openers, skipped


def ezmsg_runs(folder: Path) -> tuple[dict[str, Run], dict[str, str]]:
    """The peers, or why they are missing."""
    try:
        module("ezmsg.core")
    except Absent as why:
        return {}, {"ezmsg": str(why)}
    return {ONE: partial(run_ezmsg, folder, ()), EACH: partial(run_ezmsg, folder, ("--processes",))}, {}


def run_ezmsg(folder: Path, flags: tuple[str, ...], count: int) -> Times:
    """A pipeline of its own processes."""
    to = folder / "ezmsg.f64"
    command = [sys.executable, "-m", "bench.ezmsg_pipeline", str(count), str(RATE_HZ), str(to), *flags]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return np.fromfile(to)


if __name__ == "__main__":
    main("bench.bench_pipeline", __doc__, measure, pinned=False)
