"""Training beside PyTorch: `python -m bench.bench_train`. LSTM 50 x 3 + Dense 1, 96 inputs, 100 steps.

An update is forward, backward and Adam: of one sequence on one core, and of 32 sequences
in two threads, as `train` computes them; nothing is pinned then.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench.networks import INPUTS
from bench.peers.base import Absent, module
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.timing import Calls, percentiles, take_turns
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.sample import F32
from stream_rnn.training.adam import Adam
from stream_rnn.training.gradient import NO_DROPOUT, Backpropagation
from stream_rnn.training.options import SHARDS
from stream_rnn.training.run import initial_weights

UNITS, LAYERS, STEPS, BATCH = 50, 3, 100, 32
RATE = 1e-3
OPTIMISERS: dict[str, dict[str, bool]] = {
    "default": {},
    "fused": {"fused": True},
    "foreach": {"foreach": True},
}
OURS = "stream-rnn"
ONE, MANY = "one sequence, one core", f"{BATCH} sequences, {SHARDS} threads"
GOALS = {ONE: 2.5, MANY: 1.0}
"""How many times ours PyTorch's best takes, at least."""

Update = Callable[[], object]


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """One table."""
    rounds, seconds = (1, 0.1) if quick else (7, 0.6)
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    torch = None
    try:
        torch = module("torch")
    except Absent as why:
        skipped["PyTorch"] = str(why)
    with ThreadPoolExecutor(SHARDS) as pool:
        for case, cores, made in ((ONE, one_core(), one), (MANY, contextlib.nullcontext(), many)):
            say(f"bench_train: {case}")
            with cores:
                times = take_turns(made(torch, pool), rounds, seconds)
            rows += [Row(case, name, percentiles(found / 1000)) for name, found in times.items()]
    note = (
        "The loss is the mean square. All have the same shapes and windows, and weights of their own. "
        "Two threads need two cores that nobody else uses: PyTorch's wait for one another at every step."
    )
    table = Table(title="One update of the weights", unit="ms", ours=OURS, rows=tuple(rows), note=note)
    return Findings(tables=(table,), goals=tuple(goals(table)), skipped=skipped)


def goals(table: Table) -> Iterator[Goal]:
    """By the medians, where there is a peer."""
    for case, least in GOALS.items():
        theirs = [table.figures(case, name).get("p50", np.inf) for name in table.candidates if name != OURS]
        if theirs:
            found = min(theirs) / table.figures(case, OURS)["p50"]
            yield Goal(f"PyTorch's best update over ours, {case}", found, least, "at least")


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Stay on the last core that this process may use."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def one(torch: Any, _: ThreadPoolExecutor) -> Calls:  # noqa: ANN401 - see `module`
    """One sequence an update; PyTorch with every Adam it has."""
    calls: Calls = {OURS: ours(1)}
    for name, kind in OPTIMISERS.items() if torch else ():
        calls[f"PyTorch, {name} Adam, 1 thread"] = theirs(torch, 1, 1, kind)
    return calls


def many(torch: Any, pool: ThreadPoolExecutor) -> Calls:  # noqa: ANN401 - see `module`
    """A batch an update; PyTorch also on one thread, which is its better choice on some machines."""
    calls: Calls = {OURS: ours(BATCH, SHARDS, pool)}
    for threads, name in ((1, "1 thread"), (SHARDS, f"{SHARDS} threads")) if torch else ():
        calls[f"PyTorch, fused Adam, {name}"] = theirs(torch, BATCH, threads, OPTIMISERS["fused"])
    return calls


def ours(batch: int, shards: int = 1, pool: ThreadPoolExecutor | None = None) -> Update:
    """One update of `batch` sequences, in shards side by side, as `fit` does it."""
    plan = Architecture(inputs=INPUTS, layers=(Layer("lstm", UNITS),) * LAYERS, outputs=1).plan()
    rng = np.random.default_rng(0)
    weights, decay = initial_weights(plan, 0.0, rng)
    X, Y = windows(batch)
    parts = np.array_split(np.arange(batch), shards)
    xs = [np.ascontiguousarray(X[:, part]) for part in parts]
    ys = [np.ascontiguousarray(Y[:, part]) for part in parts]
    passes = [Backpropagation(plan, STEPS, len(part)) for part in parts]
    gradients = [np.zeros_like(weights) for _ in parts]
    adam = Adam(decay)

    def shard(i: int) -> int:
        gradients[i][:] = 0
        return passes[i].add_gradient(weights, xs[i], ys[i], 0, gradients[i], NO_DROPOUT, rng)[1]

    def update() -> None:
        counts = list((pool.map if pool else map)(shard, range(shards)))
        for other in gradients[1:]:
            gradients[0] += other
        gradients[0] *= np.float32(2.0 / sum(counts))  # PyTorch's loss is the mean square, ours half of it
        adam.step(weights, gradients[0], RATE)

    return update


def theirs(torch: Any, batch: int, threads: int, optimiser: dict[str, bool]) -> Update:  # noqa: ANN401 - likewise
    """The same update as a PyTorch user writes it."""
    torch.set_num_threads(threads)
    lstm, dense = torch.nn.LSTM(INPUTS, UNITS, LAYERS), torch.nn.Linear(UNITS, 1)
    adam = torch.optim.Adam([*lstm.parameters(), *dense.parameters()], lr=RATE, **optimiser)
    X, Y = (torch.from_numpy(array) for array in windows(batch))

    def update() -> None:
        torch.set_num_threads(threads)
        adam.zero_grad()
        torch.nn.functional.mse_loss(dense(lstm(X)[0]), Y).backward()
        adam.step()

    return update


def windows(batch: int) -> tuple[F32, F32]:
    """Random features, (T, B, D), and targets, (T, B, 1)."""
    rng = np.random.default_rng(1)
    X, Y = (rng.standard_normal((STEPS, batch, width), dtype=np.float32) for width in (INPUTS, 1))
    return X, Y


if __name__ == "__main__":
    main("bench.bench_train", __doc__, measure, pinned=False)
