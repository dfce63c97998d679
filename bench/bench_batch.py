"""Many streams stepped at once: `python -m bench.bench_batch`. Microseconds of one stream's step.

Networks A, B, D with 8, 64 and 512 streams, each with a hidden state of its own, beside engines that batch.
"""

from collections.abc import Iterator
from functools import partial

from bench.networks import INPUTS, NETWORKS, network, samples
from bench.peers import numpy_twin, onnx_runtime, pytorch
from bench.peers.base import Maker, Step, make_all
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.timing import Calls, percentiles, take_turns
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

OURS = "stream-rnn, step_many"
MEASURED = "ABD"  # networks
STREAMS = (8, 64, 512)
PEERS: dict[str, Maker] = {
    "ONNX Runtime": onnx_runtime.make,
    "PyTorch": pytorch.make,
    "NumPy": numpy_twin.make,
}
BEST_PEER, GOAL_STREAMS, GOAL = "ONNX Runtime, IO binding", (64, 512), 0.8
"""Part of its p50 on A, at most."""
LEFT_OUT = ("ONNX Runtime, run()",)  # with IO binding it is faster


def our_step(model: Model, streams: int) -> dict[str, Step]:
    """One step of every stream."""
    predictor, keys = Predictor(model), [f"device-{i}" for i in range(streams)]

    def step(xs: F32) -> F32:
        return predictor.step_many(xs, keys)

    return {OURS: step}


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """A table a network would be long: one for all."""
    rounds, seconds = (1, 0.05) if quick else (3, 0.25)
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name, (layers, outputs) in NETWORKS.items():
        if name[0] not in MEASURED:
            continue
        model = network(layers, outputs)
        for streams in STREAMS[: 2 if quick else None]:
            say(f"bench_batch: {name}, {streams} streams")
            steps, absent = make_all({OURS: our_step, **PEERS}, model, streams)
            skipped |= absent
            xs = samples(streams, INPUTS)
            calls: Calls = {
                label: partial(step, xs) for label, step in steps.items() if label not in LEFT_OUT
            }
            for label, times in take_turns(calls, rounds, seconds).items():
                rows.append(Row(f"{name[0]}, {streams} streams", label, percentiles(times / streams)))
    table = Table(title="One stream's step of a batch", unit="us", ours=OURS, rows=tuple(rows))
    return Findings(tables=(table,), goals=tuple(goals(table)), skipped=skipped)


def goals(table: Table) -> Iterator[Goal]:
    """Our part of the best peer's time, where it was measured."""
    for case in (f"A, {streams} streams" for streams in GOAL_STREAMS):
        ours, theirs = table.figures(case, OURS), table.figures(case, BEST_PEER)
        if ours and theirs:
            yield Goal(f"a batch over {BEST_PEER}, {case}", ours["p50"] / theirs["p50"], GOAL)


if __name__ == "__main__":
    main("bench.bench_batch", __doc__, measure)
