"""Recorded samples sent again, each when it is due on the monotonic clock, to whoever takes them.

The schedule is absolute: a late sample does not move the ones after it. The last stretch before a sample is
waited out in turns of the event loop, because its timers are a millisecond coarse.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal

import msgspec
import numpy as np

from stream_rnn.recordings.pacing import Pace
from stream_rnn.recordings.text import Timed
from stream_rnn.sample import Sample

COARSE_S = 0.002  # an event loop's timer may be this late
CHANGES_S = 0.02  # a changed pace is noticed within this
YIELD_EVERY = 64  # samples sent without waiting before the loop gets a turn

Send = Callable[[Sample], bool]


class Playback(msgspec.Struct, frozen=True, kw_only=True):
    """How a recording is played.

    Attributes:
        rate: Times the recorded speed.
        asap: As fast as they are taken, without waiting.
        loop: Over and over; numbers go on where the round before ended.
        start_offset_s: Skip so much of the recording.
        duration_s: Play so much of it.
        delay_s: Wait before the first sample.
        start_paused: Wait for the keyboard before the first sample.
        topics: Play these streams only; empty for all.
        remap: New names of streams.
        retime: Whether samples carry the time they are sent, or the one they were recorded with.
    """

    rate: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    asap: bool = False
    loop: bool = False
    start_offset_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    duration_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    delay_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    start_paused: bool = False
    topics: tuple[str, ...] = ()
    remap: dict[str, str] = {}
    retime: Literal["now", "keep"] = "now"


class Played(msgspec.Struct, frozen=True):
    """What a replay did.

    Attributes:
        sent: Samples sent.
        refused: Samples the sink did not take.
        seconds: From the first to the last.
        late_p50_ms: Half of them left within this of when they were due.
        late_p99_ms: 99 in 100 did.
        late_max_ms: All of them did.
    """

    sent: int
    refused: int
    seconds: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float


def chosen(samples: Iterable[Timed], playback: Playback) -> Iterator[Timed]:
    """The part of a recording that is played, its streams renamed, its first instant at 0."""
    start = playback.start_offset_s
    stop = np.inf if playback.duration_s is None else start + playback.duration_s
    for sample, offset_s in samples:
        if start <= offset_s < stop and (not playback.topics or sample.stream in playback.topics):
            stream = playback.remap.get(sample.stream, sample.stream)
            yield Timed(Sample(stream, sample.seq, sample.t_ns, sample.x), offset_s - start)


def rounds(samples: Callable[[], Iterator[Timed]], playback: Playback) -> Iterator[Timed]:
    """The chosen samples once, or over and over with numbers and times that go on."""
    past_s, next_seq = 0.0, dict[str, int]()
    while True:
        last_s, shift = 0.0, dict(next_seq)
        for sample, offset_s in chosen(samples(), playback):
            seq = None if sample.seq is None else sample.seq + shift.get(sample.stream, 0)
            if seq is not None:
                next_seq[sample.stream] = max(next_seq.get(sample.stream, 0), seq + 1)
            last_s = offset_s
            yield Timed(Sample(sample.stream, seq, sample.t_ns, sample.x), past_s + offset_s)
        if not playback.loop or not next_seq:
            return
        past_s += last_s


async def play(
    samples: Iterator[Timed],
    playback: Playback,
    send: Send,
    ended: asyncio.Event,
    watch: Callable[[Pace], None] = lambda _: None,
) -> Played:
    """Send every sample when it is due, until there are no more or `ended` is set.

    Args:
        samples: What to send.
        playback: How.
        send: Takes one sample; False when it does not.
        ended: Ends it.
        watch: Takes the pace, which may be changed meanwhile.
    """
    await asyncio.sleep(playback.delay_s)
    start_ns, epoch_ns = time.monotonic_ns(), time.time_ns()
    pace = Pace(start_ns, playback.rate, paused=playback.start_paused)
    watch(pace)
    late_ns: list[int] = []
    refused = 0
    for count, (sample, offset_s) in zip(itertools.count(), samples, strict=False):
        if playback.asap and count % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        due_ns = await _due(offset_s, pace, ended, asap=playback.asap)
        if ended.is_set():
            break
        if playback.retime == "now":
            t_ns = time.time_ns() if playback.asap else epoch_ns + due_ns - start_ns
            sample = Sample(sample.stream, sample.seq, t_ns, sample.x)  # noqa: PLW2901 - the same one, retimed
        refused += not send(sample)
        late_ns.append(time.monotonic_ns() - due_ns)
    seconds = (time.monotonic_ns() - start_ns) / 1e9
    late = np.zeros(1) if playback.asap or not late_ns else np.array(late_ns) / 1e6
    p50, p99 = np.percentile(late, [50, 99])
    return Played(len(late_ns), refused, seconds, float(p50), float(p99), float(late.max()))


async def _due(offset_s: float, pace: Pace, ended: asyncio.Event, *, asap: bool) -> int:
    """Return when a sample is due, whatever happens to the pace meanwhile; give that monotonic instant.

    A timer, and turns of the loop for the last two milliseconds.
    """
    while not ended.is_set():
        now_ns, due_ns = time.monotonic_ns(), pace.due_ns(offset_s)
        if due_ns is None:
            if pace.take_step(offset_s):
                return now_ns
            await asyncio.sleep(CHANGES_S)
        elif asap or now_ns >= due_ns:
            return now_ns if asap else due_ns
        elif (due_ns - now_ns) / 1e9 > COARSE_S:
            await asyncio.sleep(min(CHANGES_S, (due_ns - now_ns) / 1e9 - COARSE_S))
        else:
            await asyncio.sleep(0)
    return time.monotonic_ns()
