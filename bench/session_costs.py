"""What it costs to make, find and forget a session, by how many there are. Nothing is stepped."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import numpy as np

from bench.networks import named
from bench.timing import Times, percentiles
from stream_rnn.predictor import Predictor
from stream_rnn.session.rules import Rules
from stream_rnn.session.table import Sessions

NETWORK = "C"
TOUCHED = 1000  # sessions that are found and forgotten, one by one
TIMES = 7  # that idle sessions are looked for
FIND = "find (get)"

T = TypeVar("T")


def session_costs(count: int) -> dict[str, dict[str, float]]:
    """Microseconds of each operation with this many sessions there."""
    sessions = Sessions(Predictor(named(NETWORK)), Rules(), "0" * 12, count)
    keys = [f"device-{i}" for i in range(count)]
    some = [keys[i] for i in np.random.default_rng(3).permutation(count)[:TOUCHED]]
    touch = partial(sessions.get, now_ns=1)
    found = {
        "make (get)": each_us(touch, keys),
        FIND: each_us(touch, some),
        "forget (drop)": each_us(sessions.drop, some),
        "make again, in a row that was used": each_us(touch, some),
        "evict_idle, none idle": each_us(sessions.evict_idle, [1] * TIMES),
        "evict_idle, one idle": np.concatenate([evict_one(sessions, key) for key in some[:TIMES]]),
        "evict_idle, all idle, for each": each_us(sessions.evict_idle, [2]) / count,
    }
    assert not len(sessions)
    return {name: percentiles(times) for name, times in found.items()}


def evict_one(sessions: Sessions, key: str) -> Times:
    """Microseconds of an eviction that finds one session idle; it is made again."""
    sessions.get(key, 0)
    times = each_us(sessions.evict_idle, [1])
    sessions.get(key, 1)
    return times


def each_us(call: Callable[[T], object], items: Iterable[T]) -> Times:
    """Microseconds of the call with each of these."""
    clock, durations = time.perf_counter_ns, []
    for item in items:
        began = clock()
        call(item)
        durations.append(clock() - began)
    return np.array(durations, dtype=np.float64) / 1000
