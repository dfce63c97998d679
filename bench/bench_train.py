"""Training beside PyTorch: `python -m bench.bench_train [file.json]`. LSTM 50 x 3 + Dense 1, 100 steps.

Forward, backward and Adam of one sequence on one core, and of 32 sequences on two. Variants take turns, so
that a busy machine is busy for all of them. PyTorch is looked for, not required.
"""

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np

from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.sample import F32
from stream_rnn.training.adam import Adam
from stream_rnn.training.fit import initial_weights
from stream_rnn.training.gradient import NO_DROPOUT, Backpropagation

torch: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None

INPUTS, UNITS, LAYERS, STEPS, BATCH = 96, 50, 3, 100, 32
RATE = 1e-3
OPTIMISERS: dict[str, dict[str, bool]] = {
    "default": {},
    "fused": {"fused": True},
    "foreach": {"foreach": True},
}
ROUNDS = 7
SECONDS = 0.7  # of a variant in each round
OURS = "stream-rnn"

Update = Callable[[], object]


def ours(batch: int, pool: ThreadPoolExecutor | None) -> Update:
    """One update of `batch` sequences; in two shards, as `fit` does, where there is a pool."""
    plan = Architecture(inputs=INPUTS, layers=(Layer("lstm", UNITS),) * LAYERS, outputs=1).plan()
    rng = np.random.default_rng(0)
    weights, decay = initial_weights(plan, 0.0, rng)
    X, Y = windows(batch)
    shards = np.array_split(np.arange(batch), 2 if pool else 1)
    xs = [np.ascontiguousarray(X[:, shard]) for shard in shards]
    ys = [np.ascontiguousarray(Y[:, shard]) for shard in shards]
    passes = [Backpropagation(plan, STEPS, len(shard)) for shard in shards]
    gradients = [np.zeros_like(weights) for _ in shards]
    adam = Adam(decay)

    def shard(i: int) -> int:
        gradients[i][:] = 0
        return passes[i].add_gradient(weights, xs[i], ys[i], 0, gradients[i], NO_DROPOUT, rng)[1]

    def update() -> None:
        counts = list((pool.map if pool else map)(shard, range(len(shards))))
        for other in gradients[1:]:
            gradients[0] += other
        gradients[0] *= np.float32(2.0 / sum(counts))  # PyTorch's loss is the mean square, ours half of it
        adam.step(weights, gradients[0], RATE)

    return update


def theirs(batch: int, threads: int, optimiser: dict[str, bool]) -> Update:
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


def alternate(variants: dict[str, Update]) -> dict[str, dict[str, float]]:
    """Milliseconds of each variant, median and 99th percentile, in rounds that take turns."""
    durations: dict[str, list[float]] = {name: [] for name in variants}
    for update in variants.values():
        update()  # compiles, and fills what is filled once
    for _ in range(ROUNDS):
        for name, update in variants.items():
            until = time.perf_counter() + SECONDS
            while time.perf_counter() < until:
                began = time.perf_counter_ns()
                update()
                durations[name].append((time.perf_counter_ns() - began) / 1e6)
    return {
        name: {
            "p50_ms": float(np.percentile(ms, 50)),
            "p99_ms": float(np.percentile(ms, 99)),
            "updates": len(ms),
        }
        for name, ms in durations.items()
    }


def on_one_core() -> dict[str, dict[str, float]]:
    """One sequence an update."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        variants = {OURS: ours(1, None)}
        if torch is not None:
            variants |= {f"torch, {name} Adam": theirs(1, 1, kind) for name, kind in OPTIMISERS.items()}
        return alternate(variants)
    finally:
        os.sched_setaffinity(0, cores)


def on_all_cores() -> dict[str, dict[str, float]]:
    """A batch an update; PyTorch also on one thread, which is its better choice on some machines."""
    with ThreadPoolExecutor(2) as pool:
        variants = {OURS: ours(BATCH, pool)}
        if torch is not None:
            for threads in (1, 2):
                variants[f"torch, fused Adam, {threads} threads"] = theirs(
                    BATCH, threads, OPTIMISERS["fused"]
                )
        return alternate(variants)


def ratio(variants: dict[str, dict[str, float]]) -> float | None:
    """How many times as long PyTorch's best takes, by the medians."""
    others = [figures["p50_ms"] for name, figures in variants.items() if name != OURS]
    return min(others) / variants[OURS]["p50_ms"] if others else None


def measure() -> dict[str, Any]:
    """All figures, and what they were measured with."""
    cases = {
        "one sequence, one core": on_one_core(),
        f"{BATCH} sequences, {len(os.sched_getaffinity(0))} cores": on_all_cores(),
    }
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "command": f"python -m {__spec__.name}",
        "versions": {
            "python": platform.python_version(),
            "numba": numba.__version__,
            "numpy": np.__version__,
            "torch": None if torch is None else torch.__version__,
        },
        "cases": {name: {"variants": variants, "ratio": ratio(variants)} for name, variants in cases.items()},
    }


def processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def main() -> None:
    """Print the table, and write the figures where the first argument says."""
    result = measure()
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    print(f"{result['date']}, {result['machine']}, {versions}: {result['command']}")
    if result["versions"]["torch"] is None:
        print("skipped: torch (not installed)")
    print("\n| update | variant | p50 ms | p99 ms | best other / ours |\n|---|---|---|---|---|")
    for case, figures in result["cases"].items():
        for name, variant in figures["variants"].items():
            best = f"{figures['ratio']:.1f}" if name == OURS and figures["ratio"] else ""
            print(f"| {case} | {name} | {variant['p50_ms']:.2f} | {variant['p99_ms']:.2f} | {best} |")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
