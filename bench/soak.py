"""Millions of samples through one daemon: `python -m bench.soak [--samples 10e6] [--streams 200]`.

Network A over TCP frames, half as many samples a second as it can answer, and a tenth of them over a real
broker. Memory, open descriptors and the way through the daemon are noted all the time; the first fifth is
warm-up.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.flood import Kind
from bench.networks import named
from bench.ports import running_mosquitto
from bench.report import Findings, Goal, Row, Table
from bench.runner import reported, say, tell
from bench.watched import Watched, flooding, sent_by, watched
from stream_rnn.model.file import save_model

NOTE_S = 1.0
WARM = 0.2  # share of the samples after which memory has to stay
MQTT_SHARE = 0.1
FASTEST_S = 5.0
SHARE = 0.5  # of what it can answer: at its limit, how long samples wait says nothing about it
FLOODS = 3  # at least
FLOOD_S = 10.0  # a flood lasts so long; its connection then is a new one
MOST_SLOPE = 1.0  # MB a million samples
MOST_DRIFT = 0.2  # share of the mean way
PATIENCE_S, POLL_S = 10.0, 0.1


class Noted(NamedTuple):
    """The daemon at one instant.

    Attributes:
        stepped: Samples that were decided on.
        memory_mb: Resident.
        descriptors: Open.
        timed: Samples whose way has been timed.
        way_us: What their ways took, added up.
    """

    stepped: int
    memory_mb: float
    descriptors: int
    timed: int
    way_us: float


class Leg(NamedTuple):
    """What a leg came to.

    Attributes:
        samples: Stepped, in all.
        per_s: A second.
        slope_mb: Resident memory gained in a million samples, after the warm-up; a straight line's slope.
        grown_mb: From the end of the warm-up to the end.
        drift: Change of the mean way, the last quarter over the one after the warm-up.
        way_us: The mean way through the daemon, in the last quarter.
        descriptors: More at the end than at the end of the warm-up, of instants between two floods.
        lost: Sent, and not answered.
    """

    samples: int
    per_s: float
    slope_mb: float
    grown_mb: float
    drift: float
    way_us: float
    descriptors: int
    lost: int


def measure(samples: int, streams: int) -> Findings:
    """Both legs."""
    legs: dict[str, Leg] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = Path(folder) / "a.safetensors"
        save_model(named("A"), model)
        broker = stack.enter_context(running_mosquitto(Path(folder), "max_queued_messages 0")).port
        parts: dict[Kind, int] = {"tcp": samples, "mqtt": int(samples * MQTT_SHARE)}
        for kind, count in parts.items():
            say(f"soak: {count} samples over {kind}")
            with watched(Path(folder), model, kind, broker) as daemon:
                legs[f"{kind.upper()}, {streams} streams"] = soak(daemon, kind, count, streams)
    return findings(legs)


def soak(daemon: Watched, kind: Kind, samples: int, streams: int) -> Leg:
    """Find out what it can answer, then load it with half of that until it has stepped so many.

    One flood follows another.
    """
    fastest = sent_by(flooding(kind, daemon.port, 0, FASTEST_S, streams))
    notes, idle = [once_stepped(daemon, fastest.sent)], list[Noted]()
    lost, began = fastest.sent - notes[-1].stepped, time.monotonic()
    rate_hz = fastest.answered / fastest.seconds * SHARE
    while notes[-1].stepped < samples or len(idle) < FLOODS:
        before = notes[-1].stepped
        process = flooding(kind, daemon.port, rate_hz, FLOOD_S, streams)
        while process.poll() is None:
            time.sleep(NOTE_S)
            notes.append(noted(daemon))
        sent = sent_by(process).sent
        notes.append(once_stepped(daemon, before + sent))
        lost += before + sent - notes[-1].stepped
        idle.append(notes[-1])
        say(f"soak: {notes[-1].stepped} samples, {notes[-1].memory_mb:.1f} MB")
    return leg(notes, idle, lost, time.monotonic() - began)


def once_stepped(daemon: Watched, samples: int) -> Noted:
    """The daemon once it has stepped so many and closed its connection, or ten seconds later."""
    deadline = time.monotonic() + PATIENCE_S
    while noted(daemon).stepped < samples and time.monotonic() < deadline:
        time.sleep(POLL_S)
    time.sleep(POLL_S)
    return noted(daemon)


def noted(daemon: Watched) -> Noted:
    """The daemon now."""
    status = daemon.status()
    samples, total = status["samples"], status["latency_us_since_start"].get("total")
    timed, mean_us = (total["count"], total["mean_us"]) if total else (0, 0.0)
    stepped = sum(samples[name] for name in ("stepped", "duplicate", "late", "failed"))
    return Noted(stepped, daemon.memory_mb, daemon.descriptors, timed, timed * mean_us)


def leg(notes: list[Noted], idle: list[Noted], lost: int, seconds: float) -> Leg:
    """What the notes say."""
    samples = notes[-1].stepped
    after = [note for note in notes if note.stepped >= WARM * samples]
    warm = [note for note in idle if note.stepped >= WARM * samples]
    stepped, memory = (
        np.array(values) for values in ([n.stepped for n in after], [n.memory_mb for n in after])
    )
    quarter = len(after) // 4
    first, last = way_us(after[: quarter + 1]), way_us(after[-quarter - 1 :])
    return Leg(
        samples=samples,
        per_s=samples / seconds,
        slope_mb=float(np.polyfit(stepped / 1e6, memory, 1)[0]),
        grown_mb=float(memory[-1] - memory[0]),
        drift=last / first - 1,
        way_us=last,
        descriptors=warm[-1].descriptors - warm[0].descriptors,
        lost=lost,
    )


def way_us(notes: list[Noted]) -> float:
    """Mean way of the samples between the first and the last of these instants."""
    timed = notes[-1].timed - notes[0].timed
    return (notes[-1].way_us - notes[0].way_us) / timed


FIGURES = {
    "samples": "samples",
    "samples a second": "per_s",
    "memory gained, MB a million": "slope_mb",
    "memory gained in all, MB": "grown_mb",
    "drift of the mean way": "drift",
    "mean way through the daemon, us": "way_us",
    "descriptors gained": "descriptors",
    "samples lost": "lost",
}


def findings(legs: dict[str, Leg]) -> Findings:
    """One table, and what must hold."""
    rows = [
        Row(name, figure, {"value": float(getattr(one, field))})
        for name, one in legs.items()
        for figure, field in FIGURES.items()
    ]
    table = Table(
        title="One daemon, many samples",
        unit="as named",
        ours="",
        rows=tuple(rows),
        ratios=False,
        note=f"After the first {WARM:.0%} of the samples. Each {FLOOD_S:g} s a new connection sends.",
    )
    return Findings(tables=(table,), goals=tuple(goals(legs)))


def goals(legs: dict[str, Leg]) -> Iterator[Goal]:
    """What must hold in every leg."""
    for name, one in legs.items():
        yield Goal(f"{name}: memory gained, MB a million samples", one.slope_mb, MOST_SLOPE)
        yield Goal(f"{name}: share by which the mean way got longer", max(0.0, one.drift), MOST_DRIFT)
        yield Goal(f"{name}: descriptors gained", one.descriptors, 0)
        yield Goal(f"{name}: samples lost", one.lost, 0)


def main() -> None:
    """Run it as a program."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--samples", type=float, default=10e6, help="over TCP; a tenth more over MQTT (10e6)")
    parser.add_argument("--streams", type=int, default=200, help="that take turns (200)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found here too")
    args = parser.parse_args()
    found = measure(int(args.samples), args.streams)
    options = f" --samples {args.samples:g} --streams {args.streams}"
    tell(reported("bench.soak", __doc__, options, found, quick=args.samples < 10e6), args.json)
    sys.exit(int(any(not goal.met for goal in found.goals)))


if __name__ == "__main__":
    main()
