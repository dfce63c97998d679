"""Candidates take turns, in rounds of single calls timed each: what the machine does strikes all."""

import gc
import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.float64]
"""Durations in microseconds."""
Calls: TypeAlias = dict[str, Callable[[], object]]
"""What is timed, by the name of the candidate."""

WARM = 0.1  # part of a round that is not counted: the caches still hold what the candidate before used


def calls_us(call: Callable[[], object], seconds: float) -> Times:
    """Microseconds of single calls, for so long and at least three."""
    clock = time.perf_counter_ns
    warm = clock() + int(WARM * seconds * 1e9)
    call()
    while clock() < warm:
        call()
    until = clock() + int(seconds * 1e9)
    durations: list[int] = []
    began = clock()
    while began < until or len(durations) < 3:
        began = clock()
        call()
        durations.append(clock() - began)
    return np.array(durations, dtype=np.float64) / 1000


def take_turns(calls: Calls, rounds: int, seconds: float) -> dict[str, Times]:
    """Time every candidate in every round; microseconds of all its calls."""
    gathered: dict[str, list[Times]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                gathered[name].append(calls_us(call, seconds))
    finally:
        gc.enable()
    return {name: np.concatenate(parts) for name, parts in gathered.items()}


def percentiles(times: Times, *points: float) -> dict[str, float]:
    """Figures of a table: the given percentiles, p50 and p99 unless told, 100 as `max`."""
    names = {100: "max"}
    return {names.get(int(p), f"p{p:g}"): float(np.percentile(times, p)) for p in points or (50, 99)}
