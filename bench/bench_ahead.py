"""A sample every 20 ms to the daemon, with and without work done ahead: `python -m bench.bench_ahead`.

At 50 Hz the caches hold something else when a sample comes. Times are the daemon's own, out of its
predictions: from when the bytes arrived to when the answer was ready to be sent. Two daemons take turns.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.networks import INPUTS, NETWORKS, network, samples
from bench.open_loop import StreamLink, latencies_us, unix
from bench.ports import running_daemon
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.saturation import cpu_ns
from bench.timing import Times, percentiles
from stream_rnn.model.file import save_model
from stream_rnn.wire.frame import FrameCodec

RATE_HZ = 50.0
COLD = "ABDE"
PLAIN, AHEAD = "daemon, ahead = false", "daemon, ahead = true"
GOAL = 1 / 3
"""Part of a plain daemon's p50, at most."""
SETTLED = 20
"""Samples until a rhythm is believed."""

KEYS = itertools.count()


class Timed(StreamLink):
    """Keeps what the daemon says of its own time."""

    def __init__(self, link: StreamLink) -> None:
        super().__init__(link.socket, link.key)
        self.found: list[float] = []

    def answered(self, payload: bytes) -> None:
        """Microseconds from arrival to answer."""
        prediction, t_published_ns = FrameCodec().decode_prediction(payload)
        self.found.append((t_published_ns - prediction.t_received_ns) / 1000)


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """The times, the processor time, the goals."""
    rounds, count = (1, 60) if quick else (3, 200)
    late, spent, goals = [], [], []
    for name, (layers, outputs) in NETWORKS.items():
        if name[0] not in COLD:
            continue
        say(f"bench_ahead: {name}")
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            model = Path(folder) / "model.safetensors"
            save_model(network(layers, outputs), model)
            daemons = {way: stack.enter_context(serving(model, way)) for way in (PLAIN, AHEAD)}
            times: dict[str, list[Times]] = {way: [] for way in daemons}
            shares: dict[str, list[float]] = {way: [] for way in daemons}
            for _ in range(rounds):
                for way, (path, pid) in daemons.items():
                    before = cpu_ns(pid)
                    times[way].append(arrivals_us(path, count))
                    shares[way].append((cpu_ns(pid) - before) / 1e7 / ((SETTLED + count) / RATE_HZ))
        found = {way: np.concatenate(parts) for way, parts in times.items()}
        late += [Row(name, way, percentiles(us, 50, 90)) for way, us in found.items()]
        spent += [Row(name, way, {"median": float(np.median(parts))}) for way, parts in shares.items()]
        part = float(np.median(found[AHEAD]) / np.median(found[PLAIN]))
        goals.append(Goal(f"arrival to answer at 50 Hz, ahead over plain, {name}", part, GOAL))
    return Findings(tables=(late_table(late), spent_table(spent)), goals=tuple(goals), skipped={})


def arrivals_us(path: Path, count: int) -> Times:
    """Microseconds from arrival to answer of so many samples, once their rhythm is known."""
    link = Timed(unix(path, f"bench-{next(KEYS)}"))
    with contextlib.closing(link.socket):
        latencies_us(link, samples(INPUTS), RATE_HZ, SETTLED + count)
    return np.array(link.found[SETTLED:])


@contextlib.contextmanager
def serving(model: Path, way: str) -> Iterator[tuple[Path, int]]:
    """A daemon on a Unix socket: its path, and the daemon's process."""
    ahead = str(way == AHEAD).lower()
    path = model.with_name(f"{ahead}.sock")
    settings = [f"daemon.ahead={ahead}", f"unix.path={path}", "unix.framing=frames"]
    with running_daemon(model, settings) as daemon:
        yield path, daemon.pid


def late_table(rows: list[Row]) -> Table:
    """From arrival to answer."""
    return Table(
        title="A sample every 20 ms, from its bytes to its answer in the daemon",
        unit="us",
        ours=PLAIN,
        rows=tuple(rows),
        no_peers=(AHEAD,),
        note="Decoding, the session, the step, encoding. Both are our daemon; `ahead` is on unless told.",
    )


def spent_table(rows: list[Row]) -> Table:
    """What it costs."""
    return Table(
        title="Processor time of the daemon at 50 Hz",
        unit="% of a core",
        ours=PLAIN,
        rows=tuple(rows),
        no_peers=(AHEAD,),
        ratios=False,
        note="It looks for the next sample without sleeping for at most 5% of the time between two.",
    )


if __name__ == "__main__":
    main("bench.bench_ahead", __doc__, measure, pinned=False)
