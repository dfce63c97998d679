"""A sample every 20 ms: by then the caches hold something else. Time from arrival to prediction."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from bench.peers.base import Step
from bench.timing import Times
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

STEP = "stream-rnn, step"
PERIOD_S = 0.02
LEAD_S = 0.0005
"""How long before a sample is due its stream is made ready."""


def nothing() -> None:
    """Do what most do between two samples."""


class Way(NamedTuple):
    """A step, what is done after each prediction, and what shortly before the next sample is due."""

    step: Callable[[], object]
    after: Callable[[], None] = nothing
    before: Callable[[], None] = nothing


def our_ways(model: Model, x: F32) -> dict[str, Way]:
    """A plain step, and what can be done while nothing arrives."""
    predictor = Predictor(model)
    memory, scratch = predictor.new_memory().data, predictor.new_memory().data
    y, unread = (np.empty(predictor.outputs, dtype=np.float32) for _ in range(2))

    def step() -> None:
        predictor.advance(memory, 0, x, y)

    def prepare() -> None:
        predictor.prepare(memory, 0)

    def warm() -> None:
        predictor.advance(scratch, 0, x, unread)
        predictor.prepare(memory, 0)

    return {
        STEP: Way(step),
        "stream-rnn, prepared after the last": Way(step, after=prepare),
        "stream-rnn, warmed and prepared before the next": Way(step, before=warm),
    }


def peer_ways(steps: Mapping[str, Step], x: F32) -> dict[str, Way]:
    """The peers as they are."""
    return {name: Way(lambda step=step: step(x)) for name, step in steps.items()}  # type: ignore[misc]


def arrivals_us(way: Way, count: int) -> Times:
    """Microseconds from arrival to prediction of so many samples, each due at a time of its own."""
    durations = np.empty(count)
    due = time.perf_counter() + PERIOD_S
    for n in range(count):
        sleep_until(due - LEAD_S)
        way.before()
        sleep_until(due)
        arrived = time.perf_counter_ns()
        way.step()
        durations[n] = (time.perf_counter_ns() - arrived) / 1000
        way.after()
        due += PERIOD_S
    return durations


def sleep_until(due: float) -> None:
    """Sleep to an instant of `time.perf_counter`; not at all where it is past."""
    time.sleep(max(0.0, due - time.perf_counter()))


def take_turns_cold(ways: Mapping[str, Way], rounds: int, count: int) -> dict[str, Times]:
    """Every way in every round."""
    for way in ways.values():
        way.step()
    found: dict[str, list[Times]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(arrivals_us(way, count))
    return {name: np.concatenate(parts) for name, parts in found.items()}
