"""Ten times the rate that a daemon can sustain: `python -m bench.overload [--seconds 60] [--json PATH]`.

Network A, many streams, over TCP and UDP frames and a real broker, with each inbox policy. The daemon has one
core, what loads it the other. Every sample that left must be found again: stepped, or counted as dropped.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from bench.flood import Kind, Sent
from bench.networks import named
from bench.ports import running_mosquitto
from bench.report import Findings, Goal, Row, Table
from bench.runner import reported, say, tell
from bench.watched import Watched, flooding, sent_by, watched
from stream_rnn.model.file import save_model

TIMES = 10
STREAMS = 50
INBOX = 1024
WARM_S = 2.0
PATIENCE_S = 30.0
POLL_S = 0.02
DROPPED = "$SYS/broker/publish/messages/dropped"


class Case(NamedTuple):
    """A way in, what its inbox does, and what becomes of a gap."""

    kind: Kind
    policy: str
    gap: str = "skip"

    def __str__(self) -> str:
        more = "" if self.gap == "skip" else f", gap {self.gap}"
        return f"{self.kind.upper()}, {self.policy}{more}"


CASES = (
    *(Case(kind, policy) for kind in ("tcp", "udp", "mqtt") for policy in ("block", "drop_oldest", "latest")),
    Case("tcp", "drop_oldest", "hold"),
)


class Found(msgspec.Struct, frozen=True):
    """What a case came to.

    Attributes:
        sustained_per_s: Answered without an inbox (`block`), with few samples under way.
        offered_per_s: Meant to be sent.
        sent: Left the sender: a stream socket holds back the rest.
        stepped: Samples stepped.
        inbox: Given up by the inbox.
        outside: Given up by the kernel or the broker, as they count.
        unaccounted: Sent, and found nowhere.
        served_per_s: Stepped during the overload.
        p50_ms: From a sample's own time to its prediction's.
        p99_ms: Likewise.
        waited_ms: Longest time in the daemon, from arrival.
        grown_mb: Resident memory, most during the overload, beyond that before.
        recovery_s: From the load's end until nothing waits.
    """

    sustained_per_s: float
    offered_per_s: float
    sent: int
    stepped: int
    inbox: int
    outside: int
    unaccounted: int
    served_per_s: float
    p50_ms: float
    p99_ms: float
    waited_ms: float
    grown_mb: float
    recovery_s: float


def measure(seconds: float, cases: tuple[Case, ...] = CASES) -> Findings:
    """Every case."""
    found: dict[Case, Found] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "a.safetensors"
        save_model(named("A"), model)
        for case in cases:
            say(f"overload: {case}")
            with running_mosquitto(Path(folder), "sys_interval 1") as broker:
                found[case] = of_case(Path(folder), model, case, broker.port, seconds)
    return findings(found, seconds)


def of_case(folder: Path, model: Path, case: Case, broker: int, seconds: float) -> Found:
    """What it sustains, then ten times that for so long, each by a daemon of its own."""
    settings = (f"inbox.policy={case.policy}", f"inbox.size={INBOX}", f"stream.gap={case.gap}")
    with watched(folder, model, case.kind, broker) as daemon:
        flooded(case, daemon, 0, WARM_S)
        sustained = flooded(case, daemon, 0, WARM_S)
    rate = sustained.answered / sustained.seconds
    with watched(folder, model, case.kind, broker, *settings) as daemon, Dropped(broker) as dropped:
        warm = flooded(case, daemon, rate / 2, WARM_S)
        settled(daemon)
        before, memory = daemon.status(), daemon.memory_mb
        process, most = flooding(case.kind, daemon.port, TIMES * rate, seconds, STREAMS), memory
        while process.poll() is None:
            most = max(most, daemon.memory_mb)
            time.sleep(POLL_S)
        sent = sent_by(process)
        recovery_s = sent.drained_s + settled(daemon)
        after = measured(daemon)
        stepped, inbox = counted(after)
        outside = int(after["transports"][case.kind].get("dropped_kernel", 0))
        if case.kind == "mqtt":
            time.sleep(2.5)  # the broker tells its counts once a second
            outside = dropped.count()
    latency = after["latency_us_since_start"]
    return Found(
        sustained_per_s=rate,
        offered_per_s=sent.due / seconds,
        sent=sent.sent,
        stepped=stepped,
        inbox=inbox,
        outside=outside,
        unaccounted=warm.sent + sent.sent - stepped - inbox - outside,
        served_per_s=(stepped - counted(before)[0]) / sent.seconds,
        p50_ms=latency["end_to_end"]["p50_us"] / 1000,
        p99_ms=latency["end_to_end"]["p99_us"] / 1000,
        waited_ms=latency["total"]["max_us"] / 1000,
        grown_mb=most - memory,
        recovery_s=recovery_s,
    )


def flooded(case: Case, daemon: Watched, rate_hz: float, seconds: float) -> Sent:
    """What a flood sent; everything of it is answered then, or given up."""
    return sent_by(flooding(case.kind, daemon.port, rate_hz, seconds, STREAMS))


def counted(status: dict[str, object]) -> tuple[int, int]:
    """Samples stepped or decided on otherwise, and messages that the inbox gave up."""
    totals = msgspec.convert(status["samples"], dict[str, int])
    refused = sum(msgspec.convert(status["refused"], dict[str, int]).values())
    decided = sum(totals[name] for name in ("stepped", "duplicate", "late", "failed")) + refused
    return decided, msgspec.convert(status["dropped"], int)


def settled(daemon: Watched) -> float:
    """Wait until nothing waits and nothing more comes in; seconds until then."""
    began, last = time.monotonic(), (-1, -1)
    while (now := time.monotonic()) < began + PATIENCE_S:
        status = daemon.status()
        counts = counted(status)
        if status["waiting"] == 0 and counts == last:
            return now - began - POLL_S
        last = counts
        time.sleep(POLL_S)
    return PATIENCE_S


def measured(daemon: Watched) -> dict[str, Any]:
    """Its numbers, once the latency of every prediction is among them: that is once a second."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status = daemon.status()
        if status["latency_us_since_start"]["total"]["count"] >= status["predictions"]:
            return status
        assert time.monotonic() < deadline, "predictions whose latency is not told"
        time.sleep(POLL_S)


class Dropped:
    """Listens to how many messages a broker says it dropped: it tells changes only, and forgets them soon."""

    def __init__(self, broker: int) -> None:
        self._command = ["mosquitto_sub", "-p", str(broker), "-t", DROPPED]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def count(self) -> int:
        """The last that it said, after some time in which it could."""
        self._process.terminate()
        told, _ = self._process.communicate()
        return int(told.split()[-1]) if told.strip() else 0


FIGURES = {
    "sustained, 1/s": "sustained_per_s",
    "offered, 1/s": "offered_per_s",
    "served, 1/s": "served_per_s",
    "dropped by the inbox": "inbox",
    "dropped by kernel or broker": "outside",
    "unaccounted": "unaccounted",
    "end to end p50, ms": "p50_ms",
    "end to end p99, ms": "p99_ms",
    "longest in the daemon, ms": "waited_ms",
    "memory grown, MB": "grown_mb",
    "recovery, s": "recovery_s",
}


def findings(found: dict[Case, Found], seconds: float) -> Findings:
    """One table, and what we want to hold."""
    rows = [
        Row(str(case), name, {"value": float(getattr(one, field))})
        for case, one in found.items()
        for name, field in FIGURES.items()
    ]
    table = Table(
        title=f"{TIMES} times the sustainable rate for {seconds:g} s",
        unit="as named",
        ours="",
        rows=tuple(rows),
        ratios=False,
        note=f"{STREAMS} streams, network A, an inbox of {INBOX}. What a stream socket does not take stays "
        "with its sender. `latest` keeps one message of a topic, or of a socket's sender. End to end begins "
        "with the sample's own time, so the buffers of sender, kernel and broker are in it. `gap hold`: each "
        "drop is stepped all the same, as a gap that is filled.",
    )
    return Findings(tables=(table,), goals=tuple(goals(found)))


def goals(found: dict[Case, Found]) -> Iterator[Goal]:
    """What must hold in every case."""
    for case, one in found.items():
        yield Goal(f"{case}: samples that nobody counted", abs(one.unaccounted), 0)
        yield Goal(f"{case}: memory grown, MB", one.grown_mb, 64)
        yield Goal(f"{case}: recovery, s", one.recovery_s, 1)
        if case.policy != "block" and case.gap == "skip":
            most = INBOX if case.policy == "drop_oldest" else STREAMS
            bound_ms = 2000 * most / one.served_per_s + 100
            text = (
                f"{case}: longest in the daemon, ms (twice what an inbox of {most} takes to serve, and 100)"
            )
            yield Goal(text, one.waited_ms, bound_ms)


def main() -> None:
    """Run it as a program."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of overload in each case (60)")
    parser.add_argument("--only", metavar="KIND", help="tcp, udp or mqtt")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found here too")
    args = parser.parse_args()
    cases = tuple(case for case in CASES if args.only in {None, case.kind})
    options = f" --seconds {args.seconds:g}" + (f" --only {args.only}" if args.only else "")
    found = measure(args.seconds, cases)
    report = reported("bench.overload", __doc__, options, found, quick=args.seconds < 60)
    tell(report, args.json)
    sys.exit(int(any(not goal.met for goal in found.goals)))


if __name__ == "__main__":
    main()
