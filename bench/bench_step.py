"""One step, called from Python: `python -m bench.bench_step`. Networks A-E, 96 inputs, beside other engines.

Each engine has the same weights and is checked against ours before it is timed. The kernel's own time, a
run divided by its samples, stands beside the roofline: a loop that only streams as many weights through
multiply-adds. The third table has 20 ms between samples, as decoding at 50 Hz has: the caches are cold then.
The last has samples of which most features are zero.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from bench.cold import STEP, our_ways, peer_ways, take_turns_cold
from bench.networks import INPUTS, NETWORKS, named, network, samples, weight_bytes
from bench.peers import keras_cells, litert, numpy_twin, onnx_runtime, pytorch
from bench.peers.base import Maker, make_all
from bench.report import Findings, Goal, Row, Table
from bench.roofline import BLOCK, aligned_blocks, stream_weights
from bench.runner import main, say
from bench.sparse import sparse_table
from bench.timing import Calls, Times, percentiles, take_turns
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

OURS, ALLOCATING = "stream-rnn, step(x, out=y)", "stream-rnn, step(x)"
HALF = "stream-rnn, bfloat16 weights"
KERNEL, ROOFLINE = "stream-rnn, run / samples", "roofline"
PEERS: dict[str, Maker] = {
    "ONNX Runtime": onnx_runtime.make,
    "LiteRT": litert.make,
    "PyTorch": pytorch.make,
    "Keras": keras_cells.make,
    "NumPy": numpy_twin.make,
}
BEST_PEER, LITERT = "ONNX Runtime, IO binding", "LiteRT, explicit state"
STEP_GOALS = {
    BEST_PEER: {"A": 1 / 5.5, "B": 1 / 3.5, "C": 1 / 8, "D": 0.8, "E": 1 / 3.2},
    LITERT: {"A": 1 / 4.2, "B": 1 / 2.8, "C": 1 / 9},
}
"""Part of a peer's p50, at most."""
COLD = "ABD"  # networks
HALVED = "D"  # networks whose weights no cache holds
HALF_GOAL = 0.55
"""Part of ONNX Runtime's p50, at most."""
COLD_PEERS = (BEST_PEER, LITERT, "PyTorch, cells", "NumPy")
LARGEST_RUN = 512  # samples
RUN_BYTES = 32_000_000  # of weights read in one run, about


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """All four tables."""
    rounds, seconds = (2, 0.05) if quick else (5, 0.15)
    step_rows, kernel_rows, cold_rows, goals = [], [], [], []
    skipped: dict[str, str] = {}
    for name, (layers, outputs) in NETWORKS.items():
        say(f"bench_step: {name}")
        model = network(layers, outputs)
        x = samples(INPUTS)
        steps, absent = make_all(PEERS, model)
        skipped |= absent
        calls = our_calls(name, model, x) | {peer: partial(step, x) for peer, step in steps.items()}
        times = with_kernel(calls, model, rounds, seconds)
        kernel = {label: times.pop(label) for label in (KERNEL, ROOFLINE)}
        step_rows += as_rows(name, times)
        kernel_rows += as_rows(name, kernel)
        goals += step_goals(name, times)
        goals.append(Goal(f"kernel time over roofline, {name}", ratio(kernel, KERNEL, ROOFLINE), 1.15))
        if HALF in times and BEST_PEER in times:
            text = f"bfloat16 weights over {BEST_PEER}, {name}"
            goals.append(Goal(text, ratio(times, HALF, BEST_PEER), HALF_GOAL))
        if name[0] in COLD:
            ways = our_ways(model, x) | peer_ways({n: s for n, s in steps.items() if n in COLD_PEERS}, x)
            cold = take_turns_cold(ways, rounds=1 if quick else 3, count=10 if quick else 40)
            cold_rows += as_rows(name, cold, 90)
    say("bench_step: sparse samples")
    tables = step_table(step_rows), kernel_table(kernel_rows), cold_table(cold_rows)
    return Findings(tables=(*tables, sparse_table(rounds, seconds)), goals=tuple(goals), skipped=skipped)


def step_goals(name: str, times: Mapping[str, Times]) -> list[Goal]:
    """Our part of the time of those peers that are there."""
    return [
        Goal(f"one step over {peer}, {name}", ratio(times, OURS, peer), limits[name[0]])
        for peer, limits in STEP_GOALS.items()
        if peer in times and name[0] in limits
    ]


def our_calls(name: str, model: Model, x: F32) -> Calls:
    """Our step: into an array that is there, as the best peer writes, and into a new one."""
    predictor, y = Predictor(model), np.empty(model.card.architecture.outputs, dtype=np.float32)
    calls: Calls = {OURS: partial(predictor.step, x, out=y), ALLOCATING: partial(predictor.step, x)}
    if name[0] in HALVED:
        calls[HALF] = partial(Predictor(model.rounded()).step, x, out=np.empty_like(y))
    return calls


def ratio(times: Mapping[str, Times], candidate: str, other: str) -> float:
    """Of their medians."""
    return float(np.median(times[candidate]) / np.median(times[other]))


def with_kernel(calls: Calls, model: Model, rounds: int, seconds: float) -> dict[str, Times]:
    """Microseconds of these calls and, in turn with them, of a sample in our run and in the roofline."""
    T = max(4, min(LARGEST_RUN, RUN_BYTES // weight_bytes(model)))
    predictor, xs = Predictor(model), samples(T, INPUTS)
    weights, sums = aligned_blocks(model.weights), np.zeros(BLOCK, dtype=np.float32)
    factors = np.full(T, 1e-3, dtype=np.float32)
    kernel: Calls = {
        KERNEL: partial(predictor.run, xs),
        ROOFLINE: partial(stream_weights, weights, factors, sums),
    }
    found = take_turns(calls | kernel, rounds, seconds)
    return {name: times / T if name in kernel else times for name, times in found.items()}


def as_rows(case: str, times: Mapping[str, Times], high: float = 99) -> list[Row]:
    """One row a candidate."""
    return [Row(case, name, percentiles(found, 50, high)) for name, found in times.items()]


def step_table(rows: list[Row]) -> Table:
    """The first table."""
    note = (
        "One call from Python, a sample in, a prediction out; reading the clock is included. "
        f"{OURS.partition(', ')[2]} writes where it is told, as IO binding does; step(x) makes an array. "
        + " ".join(rounding(name) for name in HALVED)
    )
    ours = {OURS, ALLOCATING, HALF}
    rows = sorted(rows, key=lambda row: row.candidate not in ours)
    others = tuple(sorted(ours - {OURS}))
    return Table(title="One step", unit="us", ours=OURS, rows=tuple(rows), no_peers=others, note=note)


def rounding(name: str) -> str:
    """How far bfloat16 weights move the outputs of a network."""
    model, xs = named(name), samples(LARGEST_RUN, INPUTS)
    exact, coarse = Predictor(model).run(xs), Predictor(model.rounded()).run(xs)
    most, largest = float(np.abs(coarse - exact).max()), float(np.abs(exact).max())
    return (
        f"bfloat16 weights move the outputs of {name} by at most {most:.2g} in {len(xs)} samples, "
        f"{most / largest:.1%} of the largest output."
    )


def kernel_table(rows: list[Row]) -> Table:
    """The second table."""
    return Table(
        title="One step without Python",
        unit="us",
        ours=KERNEL,
        rows=tuple(rows),
        no_peers=(ROOFLINE,),
        note="The roofline streams as many weights through multiply-adds and does nothing else.",
    )


def cold_table(rows: list[Row]) -> Table:
    """The third table."""
    ours = {row.candidate for row in rows if row.candidate.startswith("stream-rnn")} - {STEP}
    note = (
        "Prepared: what does not need the sample is computed when the last prediction is out. Warmed: "
        "shortly before the sample is due, a step that nobody reads brings the weights back to the caches."
    )
    title = "A sample every 20 ms, from arrival to prediction"
    return Table(title=title, unit="us", ours=STEP, rows=tuple(rows), no_peers=tuple(sorted(ours)), note=note)


if __name__ == "__main__":
    main("bench.bench_step", __doc__, measure)
