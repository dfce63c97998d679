"""Source, network A in NumPy, sink in ezmsg: `python -m bench.ezmsg_pipeline`, for bench_pipeline.

Its source sleeps in a thread, to the instant; as ezmsg's own examples sleep, on the event loop, it would be
up to a millisecond late. The latencies, in microseconds from the intended send time, go to a file as
float64.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np

from bench.networks import INPUTS, named, samples
from bench.peers import numpy_twin
from bench.peers.base import module
from stream_rnn.sample import F32

ez: Any = module("ezmsg.core")


class Message:
    """A sample or a prediction, and when the sample was due, in nanoseconds of the monotonic clock."""

    def __init__(self, due_ns: int, values: F32) -> None:
        self.due_ns, self.values = due_ns, values


class Plan(ez.Settings):  # type: ignore[misc]
    """How many samples, how often, and where the latencies go."""

    count: int
    rate_hz: float
    to: str


class Source(ez.Unit):  # type: ignore[misc]
    """A sample whenever one is due."""

    SETTINGS = Plan
    OUTPUT = ez.OutputStream(Message)

    @ez.publisher(OUTPUT)  # type: ignore[untyped-decorator]
    async def produce(self) -> AsyncGenerator[tuple[Any, Message], None]:
        """Send all samples."""
        x, period = samples(INPUTS), int(1e9 / self.SETTINGS.rate_hz)
        await asyncio.sleep(0.5)
        start = time.perf_counter_ns()
        for n in range(self.SETTINGS.count):
            due = start + n * period
            left = due - time.perf_counter_ns()
            if left > 0:
                await asyncio.to_thread(time.sleep, left / 1e9)
            yield self.OUTPUT, Message(due, x)


class Network(ez.Unit):  # type: ignore[misc]
    """Network A, a step a message."""

    INPUT = ez.InputStream(Message)
    OUTPUT = ez.OutputStream(Message)

    async def initialize(self) -> None:
        """Make it."""
        self.step = numpy_twin.make(named("A"), 1)["NumPy"]

    @ez.subscriber(INPUT)  # type: ignore[untyped-decorator]
    @ez.publisher(OUTPUT)  # type: ignore[untyped-decorator]
    async def answer(self, message: Message) -> AsyncGenerator[tuple[Any, Message], None]:
        """Step and send."""
        yield self.OUTPUT, Message(message.due_ns, self.step(message.values))


class Sink(ez.Unit):  # type: ignore[misc]
    """Takes the time."""

    SETTINGS = Plan
    INPUT = ez.InputStream(Message)

    async def initialize(self) -> None:
        """Nothing arrived yet."""
        self.found: list[float] = []

    @ez.subscriber(INPUT)  # type: ignore[untyped-decorator]
    async def take(self, message: Message) -> None:
        """Note a latency; end after the last."""
        self.found.append((time.perf_counter_ns() - message.due_ns) / 1000)
        if len(self.found) == self.SETTINGS.count:
            np.array(self.found).tofile(self.SETTINGS.to)
            raise ez.NormalTermination


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("rate_hz", type=float)
    parser.add_argument("to", type=Path)
    parser.add_argument("--processes", action="store_true", help="a process each")
    args = parser.parse_args()
    plan = Plan(count=args.count, rate_hz=args.rate_hz, to=str(args.to))
    source, network, sink = Source(plan), Network(), Sink(plan)
    ez.run(
        source=source,
        network=network,
        sink=sink,
        connections=((source.OUTPUT, network.INPUT), (network.OUTPUT, sink.INPUT)),
        process_components=(source, network, sink) if args.processes else None,
    )


if __name__ == "__main__":
    main()
