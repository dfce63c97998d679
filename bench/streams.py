"""So many streams in one process: `python -m bench.streams COUNT SECONDS`. Writes JSON, for bench_scale."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from bench.networks import INPUTS, named, samples
from bench.peers import onnx_runtime
from bench.peers.base import Absent, module
from bench.timing import Calls, percentiles, take_turns
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Sample
from stream_rnn.session.rules import Rules
from stream_rnn.session.table import Sessions

NETWORK = "C"
ROUNDS = 4
TOGETHER = 64
SESSION, BATCH, STEP = (
    "stream-rnn, session",
    f"stream-rnn, {TOGETHER} that came together",
    "stream-rnn, bare step",
)
PUT_AWAY = "put away"
PEER = "ONNX Runtime, run(), a dict of states"


class Measured(msgspec.Struct):
    """Microseconds of a sample; bytes of a stream; what was skipped; bytes of a stream's state."""

    costs: dict[str, dict[str, float]]
    memory: dict[str, float]
    skipped: dict[str, str]
    state_bytes: int


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def in_random_order(count: int) -> Iterator[int]:
    """Streams in one random order, over and over."""
    return itertools.cycle(np.random.default_rng(3).permutation(count).tolist())


def session_call(sessions: Sessions, keys: list[str], x: F32) -> Callable[[], object]:
    """One sample of the next stream through its session, as the daemon feeds it."""
    order = in_random_order(len(keys))

    def call() -> object:
        sample = Sample(keys[next(order)], None, None, x)
        return sessions.get(sample.stream, 0).feed(sample, 0, int)

    return call


def together_call(sessions: Sessions, keys: list[str], x: F32) -> Callable[[], object]:
    """A sample each of the next TOGETHER streams, as the daemon feeds what one read brought."""
    order, times = in_random_order(len(keys)), [0] * TOGETHER

    def call() -> object:
        return sessions.feed([Sample(keys[next(order)], None, None, x) for _ in times], times, 0, int)

    return call


def step_call(predictor: Predictor, keys: list[str], x: F32) -> Callable[[], object]:
    """One step of the next stream, and nothing else."""
    order = in_random_order(len(keys))
    return lambda: predictor.step(x, keys[next(order)])


def peer_call(count: int, x: F32) -> Callable[[], object]:
    """One step of the next stream: its state from a dict, and back into it.

    Raises:
        Absent: The peer is not installed.
    """
    runtime, model = module("onnxruntime"), named(NETWORK)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(onnx_runtime.build(model, 1), options)
    width = model.card.architecture.layers[0].units
    states = {str(i): np.zeros((1, 1, width), dtype=np.float32) for i in range(count)}
    keys, order, sample = list(states), in_random_order(count), x.reshape(1, 1, -1)

    def call() -> object:
        key = keys[next(order)]
        y, states[key] = session.run(["y", "h0_next"], {"x": sample, "h0": states[key]})
        return y

    return call


def measure(count: int, seconds: float) -> Measured:
    """Costs and memory of this many streams."""
    x, skipped = samples(INPUTS), dict[str, str]()
    predictor = Predictor(named(NETWORK))
    session_call(Sessions(predictor, Rules(), "0" * 12, 1), ["a"], x)()  # what is loaded once is no stream's
    before = resident()
    keys = [f"device-{i}" for i in range(count)]  # a session's own, too
    sessions = Sessions(predictor, Rules(), "0" * 12, count)
    feed = session_call(sessions, keys, x)
    for _ in range(count):
        feed()
    memory = {SESSION: (resident() - before) / count}
    memory[PUT_AWAY] = float(len(sessions.get(keys[0], 0).to_bytes()))
    calls: Calls = {SESSION: feed, STEP: step_call(predictor, keys, x)}
    if count >= TOGETHER:
        calls[BATCH] = together_call(sessions, keys, x)
    try:
        peer_call(1, x)()  # what it holds once is not of a stream
        before = resident()
        calls[PEER] = peer_call(count, x)
        for _ in range(count):
            calls[PEER]()
        memory[PEER] = (resident() - before) / count
    except Absent as why:
        skipped[PEER] = str(why)
    times = take_turns(calls, ROUNDS, seconds / ROUNDS)
    if BATCH in times:
        times[BATCH] /= TOGETHER
    costs = {name: percentiles(found) for name, found in times.items()}
    return Measured(costs, memory, skipped, len(predictor.state()))


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(int(sys.argv[1]), float(sys.argv[2]))))
