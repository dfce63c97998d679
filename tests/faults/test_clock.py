"""A clock that is set back or forward labels samples, and decides nothing but the deadline."""

import time

import msgspec
import numpy as np
import pytest

from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Flag, Prediction
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import CODECS
from tests.serving import serving_in_memory
from tests.small import small_model

MODEL = small_model()
XS: F32 = np.random.default_rng(2).poisson(2, (6, 5)).astype(np.float32)
HOUR = 3600 * 10**9
NOW = 1_795_458_454_000_000_000


class Clock:
    """Stands for `time.time_ns`: runs as the monotonic clock, and is set at will."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._began, self.set = time.monotonic_ns(), 0
        monkeypatch.setattr(time, "time_ns", self)

    def __call__(self) -> int:
        return NOW + self.set + time.monotonic_ns() - self._began


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def feed(transport: MemoryTransport, number: int, t_ns: int) -> None:
    sample = {"seq": number, "t_ns": t_ns, "x": XS[number].tolist()}
    transport.feed("a", msgspec.json.encode(sample))


def predictions(transport: MemoryTransport) -> list[Prediction]:
    decode = CODECS["json"].decode_prediction
    return [decode(payload)[0] for topic, payload in transport.published if "/predictions/" in topic]


@pytest.mark.parametrize("jump", [-HOUR, HOUR, 24 * 365 * HOUR])
async def test_jump_of_the_clock_changes_no_prediction_and_no_duration(clock: Clock, jump: int) -> None:
    async with serving_in_memory(MODEL, stream={"deadline_ms": 1000.0}) as (daemon, transport):
        for number in range(3):
            feed(transport, number, clock())
        clock.set = jump
        for number in range(3, 6):
            feed(transport, number, clock())  # the producer's is the same clock
        got, stages = predictions(transport), daemon.pipeline.latency.roll().stages
    np.testing.assert_array_equal(np.array([p.y for p in got]), Predictor(MODEL).run(XS))
    assert [p.flags for p in got] == [Flag.RESET, *[Flag(0)] * 5]
    assert got[3].t_received_ns - got[2].t_received_ns == pytest.approx(jump, abs=60 * 10**9)
    for stage in ("queue", "step", "total", "end_to_end"):
        assert (stages[stage].count, stages[stage].max_us < 60e6) == (6, True)


@pytest.mark.parametrize(("jump", "flags"), [(HOUR, Flag.STALE), (-HOUR, Flag(0))])
async def test_deadline_is_missed_only_while_the_clocks_of_two_machines_differ(
    clock: Clock, jump: int, flags: Flag
) -> None:
    async with serving_in_memory(MODEL, stream={"deadline_ms": 1000.0}) as (daemon, transport):
        for number in range(6):
            clock.set = jump if number in {2, 3} else 0  # ours; the producer's stays
            feed(transport, number, clock() - clock.set)
        got, stages = predictions(transport), daemon.pipeline.latency.roll().stages
    np.testing.assert_array_equal(np.array([p.y for p in got]), Predictor(MODEL).run(XS))
    assert [p.flags & Flag.STALE for p in got] == [Flag(0), Flag(0), flags, flags, Flag(0), Flag(0)]
    assert (stages["end_to_end"].count, stages["end_to_end"].max_us >= 0) == (6, True)
    assert stages["total"].max_us < 60e6


@pytest.mark.parametrize("jump", [-24 * HOUR, 24 * HOUR])
async def test_jump_of_the_clock_evicts_nobody(clock: Clock, jump: int) -> None:
    async with serving_in_memory(MODEL, stream={"idle_s": 60.0}) as (daemon, transport):
        feed(transport, 0, clock())
        clock.set = jump
        assert daemon.pipeline.evict_idle(time.monotonic_ns() - 60 * 10**9) == []
        feed(transport, 1, clock())
        assert [p.flags for p in predictions(transport)] == [Flag.RESET, Flag(0)]
        assert daemon.pipeline.evict_idle(time.monotonic_ns()) == ["a"]


async def test_producer_whose_clock_is_set_back_goes_on_where_it_was(clock: Clock) -> None:
    async with serving_in_memory(MODEL) as (_, transport):
        for number in range(6):
            feed(transport, number, clock() - (HOUR if number >= 3 else 0))
        got = predictions(transport)
    np.testing.assert_array_equal(np.array([p.y for p in got]), Predictor(MODEL).run(XS))
    assert [p.flags for p in got] == [Flag.RESET, *[Flag(0)] * 5]
