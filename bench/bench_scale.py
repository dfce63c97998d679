"""From one stream to 100 000, and from 16 units to 1024: `python -m bench.bench_scale`.

Streams: network C, one session each, fed in random order; each count in a process of its own, whose memory
the system tells; and what the table of sessions costs. Units: one LSTM layer, 96 inputs, one stream.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from bench.bench_step import KERNEL, OURS, ROOFLINE, with_kernel
from bench.networks import INPUTS, network, samples
from bench.peers import onnx_runtime
from bench.peers.base import make_all
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.session_costs import FIND, session_costs
from bench.streams import BATCH, PUT_AWAY, SESSION, STEP, Measured
from bench.timing import Calls, percentiles
from stream_rnn.model.architecture import Layer
from stream_rnn.predictor import Predictor

STREAMS = (1, 10, 100, 1_000, 10_000, 100_000)
SESSIONS = (1_000, 100_000)
LEAST_FOR_MEMORY = 1_000  # fewer drown in what a process rounds up to
STATE = "the state alone"
UNITS = (16, 32, 64, 128, 256, 512, 1024)
ROOT = Path(__file__).parents[1]

Streams: TypeAlias = Mapping[int, Measured]


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """Streams, the table of their sessions, then units."""
    streams = {count: of_streams(count, quick=quick) for count in STREAMS[: 4 if quick else None]}
    sizes, skipped = by_units(quick=quick)
    for found in streams.values():
        skipped |= found.skipped
    units = Table(
        title="Cost of a step by units, one LSTM layer",
        unit="us",
        ours=OURS,
        rows=tuple(sizes),
        no_peers=(KERNEL, ROOFLINE),
    )
    tables = cost_table(streams), memory_table(streams), session_table(), units
    return Findings(tables=tables, goals=tuple(memory_goals(streams)), skipped=skipped)


def of_streams(count: int, *, quick: bool) -> Measured:
    """Costs and memory of so many, in a process of its own."""
    say(f"bench_scale: {count} streams")
    command = [sys.executable, "-m", "bench.streams", str(count), "0.1" if quick else "0.5"]
    ended = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(ended.stdout, type=Measured)


def in_words(count: int) -> str:
    """With spaces between thousands."""
    return f"{count:,}".replace(",", " ")


def cost_table(streams: Streams) -> Table:
    """The first table."""
    rows = [
        Row(in_words(count), name, figures)
        for count, found in streams.items()
        for name, figures in found.costs.items()
    ]
    return Table(
        title="Cost of a sample by number of streams",
        unit="us",
        ours=SESSION,
        rows=tuple(rows),
        no_peers=(BATCH, STEP),
        note="A session orders, fills gaps, steps, predicts; the peer does a bare step.",
    )


def memory_table(streams: Streams) -> Table:
    """The second table."""
    rows = [
        Row(in_words(count), name, {"each": size})
        for count, found in streams.items()
        if count >= LEAST_FOR_MEMORY
        for name, size in (found.memory | {STATE: float(found.state_bytes)}).items()
    ]
    return Table(
        title="Memory of a stream",
        unit="bytes",
        ours=SESSION,
        rows=tuple(rows),
        no_peers=(PUT_AWAY, STATE),
        note="Resident memory that the streams added, their keys included; `put away` is what a snapshot "
        f"holds, `{STATE}` the last sample and the hidden state.",
    )


def memory_goals(streams: Streams) -> Iterator[Goal]:
    """What a session may take beside its state."""
    for count, found in streams.items():
        if count >= LEAST_FOR_MEMORY:
            text = f"bytes of one of {in_words(count)} sessions (1.5 times its state's, and 200)"
            yield Goal(text, found.memory[SESSION], 1.5 * found.state_bytes + 200)


def session_table() -> Table:
    """The third table."""
    rows = []
    for count in SESSIONS:
        say(f"bench_scale: {count} sessions made, found, forgotten")
        rows += [
            Row(f"{in_words(count)} sessions", name, figures)
            for name, figures in session_costs(count).items()
        ]
    return Table(
        title="Making, finding and forgetting a session",
        unit="us",
        ours=FIND,
        rows=tuple(rows),
        ratios=False,
        note="What one call takes. The daemon looks for idle sessions now and then, not with every sample.",
    )


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
        y = np.empty(model.card.architecture.outputs, dtype=np.float32)
        calls: Calls = {OURS: partial(Predictor(model).step, x, out=y)}
        calls |= {name: partial(step, x) for name, step in peers.items()}
        found = with_kernel(calls, model, rounds, seconds)
        rows += [Row(str(units), name, percentiles(times)) for name, times in found.items()]
    return rows, skipped


if __name__ == "__main__":
    main("bench.bench_scale", __doc__, measure)
