"""From process start to ready: `python -m bench.bench_start`. With a warm and with an empty cache of kernels.

Stages are read inside a process that starts as the daemon does; ready is what `stream-rnn run` says itself,
with the model of the demo and a Unix socket.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from bench.ports import running_daemon
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from stream_rnn.demo import demo_model

WARM, COLD = "warm cache", "empty cache"
READY = "ready, as the daemon says"
GOALS = {WARM: 0.6, COLD: 3.0}
"""Seconds to ready, at most, on the machine of the field notes."""
SHOWN = 14  # kernels
ROOT = Path(__file__).parents[1]

Seconds = dict[str, float]


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """Stages, ready, and the kernels compiled."""
    found: dict[str, list[Seconds]] = {WARM: [], COLD: []}
    kernels: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        start(warm)
        for n in range(1 if quick else 5):
            say(f"bench_start: warm {n}")
            found[WARM].append(start(warm)[0] | {READY: until_ready(warm)})
        for n in range(1 if quick else 2):
            say(f"bench_start: cold {n}")
            stages, kernels = start(Path(folder) / f"cold{n}")
            found[COLD].append(stages | {READY: until_ready(Path(folder) / f"cold-ready{n}")})
    rows = [row for case, runs in found.items() for row in stage_rows(case, runs)]
    table = Table(title="Start, by stage", unit="s", ours="all stages", rows=tuple(rows), ratios=False)
    goals = [Goal(f"seconds to ready, {case}", median(found[case], READY), GOALS[case]) for case in GOALS]
    return Findings(tables=(table, kernel_table(kernels)), goals=tuple(goals))


def stage_rows(case: str, runs: list[Seconds]) -> list[Row]:
    """Median and largest of each stage, and of their sums."""
    whole = [run | {"all stages": sum(s for name, s in run.items() if name != READY)} for run in runs]
    return [
        Row(case, stage, {"p50": median(whole, stage), "max": max(run[stage] for run in whole)})
        for stage in whole[0]
    ]


def median(runs: list[Seconds], stage: str) -> float:
    """Of a stage over the runs."""
    return statistics.median(run[stage] for run in runs)


def start(cache: Path) -> tuple[Seconds, list[tuple[str, float]]]:
    """Seconds of each stage of a fresh process, and of each kernel it compiled."""
    command = [sys.executable, "-m", "bench.start", str(time.monotonic_ns())]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    found: tuple[Seconds, list[tuple[str, float]]] = msgspec.json.decode(
        ended.stdout, type=tuple[Seconds, list[tuple[str, float]]]
    )
    return found


def until_ready(cache: Path) -> float:
    """Seconds until `stream-rnn run` says that it is ready."""
    before = os.environ.get("NUMBA_CACHE_DIR")
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            running_daemon(demo_model(), [f"unix.path={folder}/samples.sock"]) as daemon,
        ):
            return daemon.seconds
    finally:
        os.environ.pop("NUMBA_CACHE_DIR")
        if before is not None:
            os.environ["NUMBA_CACHE_DIR"] = before


def kernel_table(kernels: list[tuple[str, float]]) -> Table:
    """What was compiled into an empty cache, the slowest first."""
    seconds: dict[str, float] = defaultdict(float)
    for name, took in kernels:
        seconds[name] += took
    order = sorted(seconds, key=lambda name: -seconds[name])
    rest = sum(seconds[name] for name in order[SHOWN:])
    shown = {name: seconds[name] for name in order[:SHOWN]} | {f"{len(order[SHOWN:])} more": rest}
    total = "all kernels"
    rows = [
        Row("compiled", name, {"s": took}) for name, took in {total: sum(seconds.values()), **shown}.items()
    ]
    title = f"{len(kernels)} kernels compiled into an empty cache, each without those it calls"
    return Table(title=title, unit="s", ours=total, rows=tuple(rows), ratios=False)


if __name__ == "__main__":
    main("bench.bench_start", __doc__, measure)
