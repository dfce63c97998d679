"""Samples of which most features are zero, as counts of spikes are: our step as it is, and tuned for them."""

import itertools
import time
from collections.abc import Callable

import numpy as np

from bench.networks import INPUTS, named
from bench.report import Row, Table
from bench.timing import Calls, percentiles, take_turns
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

MEASURED = "ABD"  # networks
DENSITIES = (0.05, 0.1, 0.3, 1.0)
SAMPLES = 64  # that take turns: no branch learns where the zeros are
DENSE, TUNED = "stream-rnn, as it is", "stream-rnn, tuned"


def sparse_table(rounds: int, seconds: float) -> Table:
    """Both ways, which give the same bits.

    Raises:
        AssertionError: They do not.
    """
    rows: list[Row] = []
    for name in MEASURED:
        dense, tuned = (Predictor(named(name)) for _ in range(2))
        tuned.tune(time.perf_counter_ns)
        for density in DENSITIES:
            xs = spikes(density)
            bits = [way.run(xs, stream=f"{density}").tobytes() for way in (dense, tuned)]
            assert bits[0] == bits[1], f"{name}: tuned for zeros, other bits"
            calls: Calls = {DENSE: call(dense, xs), TUNED: call(tuned, xs)}
            rows += [
                Row(f"{name}, {density:.0%}", way, percentiles(times))
                for way, times in take_turns(calls, rounds, seconds).items()
            ]
    return Table(
        title="One step by how many of 96 features are not zero",
        unit="us",
        ours=TUNED,
        rows=tuple(rows),
        no_peers=(DENSE,),
        note="`Predictor.tune` measures where it pays to read only the weights of features that are not "
        "zero; both ways give the same bits.",
    )


def spikes(density: float) -> F32:
    """Counts, (SAMPLES, INPUTS), so many of them 1 or 2, the others 0."""
    rng = np.random.default_rng(4)
    xs = np.zeros((SAMPLES, INPUTS), dtype=np.float32)
    for x in xs:
        there = rng.permutation(INPUTS)[: max(1, round(density * INPUTS))]
        x[there] = rng.integers(1, 3, len(there))
    return xs


def call(predictor: Predictor, xs: F32) -> Callable[[], F32]:
    """One step of the next sample."""
    y, turns = np.empty(predictor.outputs, dtype=np.float32), itertools.cycle(xs)
    return lambda: predictor.step(next(turns), out=y)
