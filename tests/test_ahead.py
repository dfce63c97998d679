"""What is done before a sample is due: found by its rhythm, without a trace in what is predicted."""

import asyncio

import msgspec
import numpy as np
import pytest

from stream_rnn.daemon.ahead import MOST_STREAMS, Ahead, schedule
from stream_rnn.daemon.rhythm import Rhythm
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Sample
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.wire import CODECS
from tests.small import small_model

MS = 1_000_000
PREDICTOR = Predictor(small_model(bin_samples=2))
XS: F32 = np.random.default_rng(5).poisson(2, (40, 5)).astype(np.float32)


def rhythm_of(*times_ms: float) -> Rhythm:
    rhythm = Rhythm(int(times_ms[0] * MS))
    for time_ms in times_ms[1:]:
        rhythm.arrived(int(time_ms * MS))
    return rhythm


def payload(i: int) -> bytes:
    return msgspec.json.encode({"seq": i, "x": XS[i].tolist()})


def clock() -> int:
    return 0


def test_even_samples_tell_when_the_next_is_due() -> None:
    rhythm = rhythm_of(0, 20, 40, 60, 80, 100)
    assert rhythm.steady
    assert (rhythm.period_ns, rhythm.spread_ns, rhythm.due_ns) == (20 * MS, 0, 120 * MS)


def test_a_slower_rhythm_is_followed() -> None:
    rhythm = rhythm_of(*range(0, 200, 20), *range(200, 2000, 50))
    assert rhythm.steady
    assert rhythm.due_ns == pytest.approx(2000 * MS, abs=MS)


def test_one_sample_held_up_or_lost_leaves_the_rhythm_as_it_was() -> None:
    rhythm = rhythm_of(0, 20, 40, 60, 80, 100, 135, 155, 195, 215)
    assert rhythm.steady
    assert (rhythm.period_ns, rhythm.due_ns) == (20 * MS, 235 * MS)


@pytest.mark.parametrize("times_ms", [(0, 20, 40), (0, 5, 100, 105, 200, 205, 300, 305)])
def test_few_or_uneven_samples_are_not_waited_for(times_ms: tuple[float, ...]) -> None:
    assert not rhythm_of(*times_ms).steady


@pytest.mark.parametrize(
    ("takes_ms", "begins_ms"),
    [(0, 119.85), (2, 117.85), (50, 114.85)],
    ids=["no time", "its time", "a quarter"],
)
def test_the_work_begins_as_long_before_as_it_takes(takes_ms: float, begins_ms: float) -> None:
    at_ns, until_ns = schedule(rhythm_of(0, 20, 40, 60, 80, 100), takes_ms * MS)
    assert (at_ns / MS, until_ns / MS) == (begins_ms, 120.85)


def test_a_prepared_step_gives_the_same_bits() -> None:
    ahead = Ahead(PREDICTOR)
    ready, plain = (Session("a", Shared(PREDICTOR, Rules(), "")) for _ in range(2))
    for i, x in enumerate(XS):
        sample = Sample("a", i, None, x)
        (one,), (other,) = ready.feed(sample, 0, clock), plain.feed(sample, 0, clock)
        np.testing.assert_array_equal(one.y, other.y)
        ahead.make_ready(ready, CODECS["json"], payload(i))
    assert ready.to_bytes() == plain.to_bytes()
    assert ahead.counters == {"prepared": len(XS), "met": 0}


async def test_a_steady_stream_is_waited_for_and_met() -> None:
    ahead, session = Ahead(PREDICTOR), Session("a", Shared(PREDICTOR, Rules(), ""))
    for i in range(6):
        session.feed(Sample("a", i, None, XS[i]), 0, clock)
        ahead.took(session, CODECS["json"], payload(i), 100 * MS + i * 20 * MS)  # long past: due at once
    while not ahead.counters["prepared"]:  # noqa: ASYNC110 - nobody sets an event then
        await asyncio.sleep(0)
    ahead.took(session, CODECS["json"], payload(6), 220 * MS)
    ahead.stop()
    assert ahead.counters == {"prepared": 1, "met": 1}


async def test_samples_that_come_fast_are_not_waited_for() -> None:
    ahead, session = Ahead(PREDICTOR), Session("a", Shared(PREDICTOR, Rules(), ""))
    for i in range(20):
        ahead.took(session, CODECS["json"], payload(i), i * MS)
    await asyncio.sleep(0)
    assert ahead.counters["prepared"] == 0


async def test_rhythms_of_few_streams_are_kept() -> None:
    ahead = Ahead(PREDICTOR)
    for i in range(3 * MOST_STREAMS):
        session = Session(f"stream {i}", Shared(PREDICTOR, Rules(), ""))
        ahead.took(session, CODECS["json"], payload(0), (i + 1) * 20 * MS)
    assert len(ahead._rhythms) <= MOST_STREAMS
