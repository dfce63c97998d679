"""From one stream to 100 000, and from 16 units to 1024: `python -m bench.bench_scale`.

Streams: network C, one session each, fed in random order; each count in a process of its own, whose memory
the system tells. Units: one LSTM layer, 96 inputs, one stream.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec

from bench.bench_step import KERNEL, OURS, ROOFLINE, with_kernel
from bench.networks import INPUTS, network, samples
from bench.peers import onnx_runtime
from bench.peers.base import Step, make_all
from bench.report import Findings, Row, Table
from bench.runner import main, say
from bench.streams import BATCH, PUT_AWAY, SESSION, STEP, Measured
from bench.timing import Calls, percentiles
from stream_rnn.model.architecture import Layer
from stream_rnn.predictor import Predictor

STREAMS = (1, 10, 100, 1_000, 10_000, 100_000)
UNITS = (16, 32, 64, 128, 256, 512, 1024)
ROOT = Path(__file__).parents[1]


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """Streams, then units."""
    costs, memory, skipped = by_streams(quick=quick)
    sizes, absent = by_units(quick=quick)
    tables = (
        Table(
            title="Cost of a sample by number of streams",
            unit="us",
            ours=SESSION,
            rows=tuple(costs),
            no_peers=(BATCH, STEP),
            note="A session orders, fills gaps, steps, predicts; the peer does a bare step.",
        ),
        Table(
            title="Memory of a stream",
            unit="bytes",
            ours=SESSION,
            rows=tuple(memory),
            no_peers=(PUT_AWAY,),
            note="Resident memory that the streams added; `put away` is what a snapshot holds.",
        ),
        Table(
            title="Cost of a step by units, one LSTM layer",
            unit="us",
            ours=OURS,
            rows=tuple(sizes),
            no_peers=(KERNEL, ROOFLINE),
        ),
    )
    return Findings(tables=tables, skipped=skipped | absent)


def by_streams(*, quick: bool) -> tuple[list[Row], list[Row], dict[str, str]]:
    """Costs, memory and what was skipped, of each count in a process of its own."""
    costs: list[Row] = []
    memory: list[Row] = []
    skipped: dict[str, str] = {}
    for count in STREAMS[: 4 if quick else None]:
        say(f"bench_scale: {count} streams")
        command = [sys.executable, "-m", "bench.streams", str(count), "0.1" if quick else "0.5"]
        ended = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        found = msgspec.json.decode(ended.stdout, type=Measured)
        case = f"{count:,}".replace(",", " ")
        costs += [Row(case, name, figures) for name, figures in found.costs.items()]
        if count >= 1000:  # fewer drown in what a process rounds up to
            memory += [Row(case, name, {"each": size}) for name, size in found.memory.items()]
        skipped |= found.skipped
    return costs, memory, skipped


def by_units(*, quick: bool) -> tuple[list[Row], dict[str, str]]:
    """Costs, and what was skipped, by size of the layer."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    rounds, seconds = (1, 0.05) if quick else (4, 0.15)
    for units in UNITS:
        say(f"bench_scale: {units} units")
        model = network((Layer("lstm", units),), 2)
        peers, absent = make_all({"ONNX Runtime": onnx_runtime.make}, model)
        skipped |= absent
        peers.pop("ONNX Runtime, run()", None)
        x = samples(INPUTS)
        steps: dict[str, Step] = {OURS: Predictor(model).step} | peers
        calls: Calls = {name: partial(step, x) for name, step in steps.items()}
        found = with_kernel(calls, model, rounds, seconds)
        rows += [Row(str(units), name, percentiles(times)) for name, times in found.items()]
    return rows, skipped


if __name__ == "__main__":
    main("bench.bench_scale", __doc__, measure)
