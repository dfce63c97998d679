"""A recording or a simulated cortex as a live stream: each sample published when it is due, and its truth.

Sample i is due at start + i / rate on the monotonic clock, never a sleep after the last one: lateness does
not add up. `t_ns` is the time a sample was due, so latency measured from it leaves nothing out.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from stream_rnn.errors import StreamRnnError
from stream_rnn.recordings.simulated import SimulatedCortex
from stream_rnn.recordings.table import read_table
from stream_rnn.sample import F32, Sample
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.wire import CODECS

Row = tuple[F32, F32 | None]
Publish = Callable[[str, bytes], bool]

DRAIN_S = 1.0


class Simulated(NamedTuple):
    """A simulated motor cortex, for ever."""

    units: int
    rate_hz: float
    seed: int
    day: int


class Recorded(NamedTuple):
    """The test rows of a table recording."""

    path: Path


class Order(NamedTuple):
    """What to feed, and how fast.

    Attributes:
        source: Where samples come from.
        stream: Key of the stream.
        rate_hz: Samples a second.
        url: Broker.
    """

    source: Simulated | Recorded
    stream: str
    rate_hz: float
    url: str


class Fed(NamedTuple):
    """What a feed did.

    Attributes:
        sent: Samples published.
        late_p99_ms: 99 in 100 were published within this of the time they were due.
    """

    sent: int
    late_p99_ms: float


def rows_of(source: Simulated | Recorded) -> Iterator[Row]:
    """Features and truth, sample by sample."""
    if isinstance(source, Simulated):
        cortex = SimulatedCortex(units=source.units, rate_hz=source.rate_hz, seed=source.seed, day=source.day)
        while True:
            yield cortex.step()
    recording = read_table(source.path)
    for row in np.flatnonzero(recording.is_test):
        yield recording.x[row], recording.y[row] if recording.y.shape[1] else None


def publish_row(order: Order, seq: int, row: Row, t_ns: int, publish: Publish) -> None:
    """Publish one sample and its truth, as JSON."""
    x, y = row
    sample = Sample("", seq, t_ns, np.asarray(x, dtype=np.float32))
    publish(f"sensors/{order.stream}/samples", CODECS["json"].encode_sample(sample))
    if y is not None:
        truth = msgspec.json.encode({"seq": seq, "t_ns": t_ns, "y": y.tolist()})
        publish(f"sensors/{order.stream}/truth", truth)


class Schedule:
    """When each sample is due, and how late it was.

    Args:
        rate_hz: Samples a second.
        start_ns: Monotonic time of sample 0.
        epoch_ns: The same instant in epoch nanoseconds.
    """

    def __init__(self, rate_hz: float, start_ns: int, epoch_ns: int) -> None:
        self._rate_hz, self._start_ns, self._epoch_ns = rate_hz, start_ns, epoch_ns
        self._late_ns: list[int] = []

    def due_in_s(self, seq: int, now_ns: int) -> float:
        """Seconds from now, monotonic, until a sample is due; 0 when it is late."""
        return max(0, self._start_ns + self._offset_ns(seq) - now_ns) / 1e9

    def t_ns(self, seq: int) -> int:
        """When a sample is due, epoch nanoseconds."""
        return self._epoch_ns + self._offset_ns(seq)

    def sent(self, seq: int, now_ns: int) -> None:
        """Take note that a sample left now, monotonic."""
        self._late_ns.append(max(0, now_ns - self._start_ns - self._offset_ns(seq)))

    def outcome(self) -> Fed:
        """How it went."""
        late = np.percentile(self._late_ns, 99) / 1e6 if self._late_ns else 0.0
        return Fed(len(self._late_ns), float(late))

    def _offset_ns(self, seq: int) -> int:
        return round(seq * 1e9 / self._rate_hz)


async def feed(order: Order, publish: Publish) -> Fed:
    """Publish every row when it is due; until the source ends or the task is cancelled."""
    schedule = Schedule(order.rate_hz, time.monotonic_ns(), time.time_ns())
    with contextlib.suppress(asyncio.CancelledError):
        for seq, row in enumerate(rows_of(order.source)):
            await asyncio.sleep(schedule.due_in_s(seq, time.monotonic_ns()))
            publish_row(order, seq, row, schedule.t_ns(seq), publish)
            schedule.sent(seq, time.monotonic_ns())
    return schedule.outcome()


def run_feed(order: Order, pipe: Connection) -> None:
    """Feed as a process: the target of a spawned `Process`.

    It sends `Fed` when the source ends or when the other end of the pipe says stop, or a line of error.

    Args:
        order: What to feed.
        pipe: This process' end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then says stop
    try:
        pipe.send(asyncio.run(_connected(order, pipe)))
    except StreamRnnError as error:
        pipe.send(str(error))
    except BrokenPipeError:
        return  # the parent is gone


async def _connected(order: Order, pipe: Connection) -> Fed:
    transport = MqttTransport(MqttSettings(url=order.url), topics=[], fail_fast=True)
    serving = asyncio.create_task(transport.serve(lambda _: None), name="serve")
    ready = asyncio.create_task(transport.ready(), name="ready")
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        await serving
    feeding = asyncio.create_task(feed(order, transport.publish), name="feed")
    asyncio.get_running_loop().add_reader(pipe.fileno(), feeding.cancel)
    fed = await feeding
    asyncio.get_running_loop().remove_reader(pipe.fileno())
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    return fed
