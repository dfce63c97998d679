"""The daemon over the transport in memory: what goes out for what comes in."""

import asyncio
import functools
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Flag, Prediction
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import CODECS, WireName
from tests.serving import serving_in_memory
from tests.small import small_model

MODEL = small_model()
XS: F32 = np.random.default_rng(2).poisson(2, (40, 5)).astype(np.float32)
BASE = "stream_rnn/decoder"
serving = functools.partial(serving_in_memory, MODEL)


def json(x: F32, seq: int | None = None, **fields: object) -> bytes:
    sample: dict[str, object] = {"x": x.tolist(), **fields}
    return msgspec.json.encode(sample if seq is None else sample | {"seq": seq})


def predictions(transport: MemoryTransport, stream: str, wire: WireName = "json") -> list[Prediction]:
    topic = f"{BASE}/predictions/{stream}"
    return [CODECS[wire].decode_prediction(payload)[0] for t, payload in transport.published if t == topic]


def told(transport: MemoryTransport, topic: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(payload) for t, payload in transport.published if t == f"{BASE}/{topic}"]


def offline(xs: F32 = XS) -> F32:
    return Predictor(MODEL).run(xs)


@pytest.mark.parametrize("wire", ["json", "msgpack", "frame"])
async def test_live_equals_offline_bit_for_bit(wire: WireName) -> None:
    codec = CODECS[wire]
    async with serving(wire) as (_, transport):
        for i, x in enumerate(XS):
            sample = CODECS["json"].decode_samples(json(x, i), "a")[0]
            transport.feed("a", codec.encode_sample(sample))
        got = predictions(transport, "a", wire)
    assert [p.seq for p in got] == list(range(40))
    np.testing.assert_array_equal(np.array([p.y for p in got]), offline())


async def test_raw_floats_in_give_raw_floats_out() -> None:
    async with serving("f32") as (_, transport):
        transport.feed("a", *(x.tobytes() for x in XS))
        ys = [np.frombuffer(p, dtype=np.float32) for t, p in transport.published if "/predictions/" in t]
    np.testing.assert_array_equal(np.array(ys), offline())


async def test_two_interleaved_streams_equal_two_separate_ones() -> None:
    async with serving() as (_, transport):
        for x, other in zip(XS, XS[::-1], strict=True):
            transport.feed("a", json(x))
            transport.feed("b", json(other))
        a, b = (np.array([p.y for p in predictions(transport, stream)]) for stream in "ab")
    np.testing.assert_array_equal(a, offline())
    np.testing.assert_array_equal(b, offline(XS[::-1]))


async def test_key_in_the_payload_goes_before_the_topic() -> None:
    async with serving() as (_, transport):
        transport.feed("a", json(XS[0], stream="b"))
        assert len(predictions(transport, "b")) == 1


async def test_sender_gets_its_answers_back_and_is_told_what_was_refused() -> None:
    async with serving(reply=True) as (_, transport):
        transport.feed("tcp:1", json(XS[0]), b"[1, 2]", b"{")
    answers = [msgspec.json.decode(payload) for _, payload in transport.replies]
    assert answers[0]["y"] == offline()[0].tolist()
    assert answers[1] == {"error": "width", "detail": "stream 'tcp:1': expected 5 features, got 2"}
    assert answers[2]["error"] == "syntax"


async def test_bad_payload_is_counted_and_the_next_one_answered() -> None:
    async with serving() as (daemon, transport):
        transport.feed(
            "a", json(XS[0]), b"{", b"[]", b'{"x":"no"}', b"[1]", json(XS[1], stream="+"), json(XS[1])
        )
        assert daemon.pipeline.refused == {"syntax": 1, "fields": 2, "width": 1, "stream": 1}
        got = predictions(transport, "a")
    np.testing.assert_array_equal(np.array([p.y for p in got]), offline(XS[:2]))


async def test_event_is_told_a_few_times_and_then_counted() -> None:
    async with serving(daemon={"events_per_s": 2}) as (daemon, transport):
        transport.feed("a", *[b"{"] * 100)
        events = [e for e in told(transport, "events") if e["kind"] == "refused_syntax"]
    assert len(events) <= 4  # two a second; the feed may straddle two seconds
    assert daemon.pipeline.refused == {"syntax": 100}


async def test_gap_is_flagged_with_the_number_missed() -> None:
    async with serving() as (_, transport):
        transport.feed("a", json(XS[0], 0), json(XS[1], 1), json(XS[5], 5))
        last = predictions(transport, "a")[-1]
    assert (last.seq, last.missed, last.flags) == (5, 3, Flag.GAP)


async def test_many_samples_in_one_payload_are_all_stepped() -> None:
    payload = msgspec.json.encode([{"timestamp": i * 10_000, "data": x.tolist()} for i, x in enumerate(XS)])
    async with serving() as (_, transport):
        transport.feed("a", payload)
        got = predictions(transport, "a")
    np.testing.assert_array_equal(np.array([p.y for p in got]), offline())
    assert got[3].t_source_ns == 30_000_000


async def test_metrics_tell_rates_counts_and_latency_of_every_stage() -> None:
    async with serving(daemon={"metrics_s": 0.05}) as (_, transport):
        transport.feed("a", json(XS[0], 0, t_ns=1), json(XS[1], 0, t_ns=1), b"{")
        async with asyncio.timeout(5):
            while not told(transport, "metrics"):  # noqa: ASYNC110 - nobody sets an event then
                await asyncio.sleep(0)
        metrics = told(transport, "metrics")[0]
    assert metrics["samples"]["stepped"] == 1
    assert metrics["samples"]["duplicate"] == 1
    assert metrics["refused"] == {"syntax": 1}
    spent_s = metrics["latency_us"]["step"]["mean_us"] * 2 / 1e6
    assert metrics["normalised_latency"] == pytest.approx(spent_s * MODEL.card.rate_hz, rel=1e-2)
    assert metrics["deadline_misses"] == 0
    assert metrics["latency_us"]["end_to_end"]["count"] == 1
    for stage in ("queue", "step", "total"):
        summary = metrics["latency_us"][stage]
        assert summary["count"] == 2
        assert 0 < summary["p50_us"] <= summary["p99_us"] <= summary["max_us"]


async def test_birth_describes_the_model() -> None:
    async with serving() as (daemon, transport):
        birth = msgspec.json.decode(transport.retained[f"{BASE}/info"])
        status = msgspec.json.decode(transport.retained[f"{BASE}/status"])
    assert birth["model"]["hash"] == MODEL.hash
    assert birth["model"]["outputs"][0] == {"name": "v0", "unit": "cm/s"}
    assert status == {"status": "online", "session": daemon.run_id}


async def test_drop_oldest_keeps_the_newest_and_counts_the_rest() -> None:
    async with serving(inbox={"policy": "drop_oldest", "size": 10}) as (daemon, transport):
        transport.feed("a", *(json(x, i) for i, x in enumerate(XS)))
        daemon.stop()
        assert daemon.pipeline.dropped == 30
    assert [p.seq for p in predictions(transport, "a")] == list(range(30, 40))


async def test_dropped_samples_are_a_gap_of_the_stream() -> None:
    async with serving(inbox={"policy": "drop_oldest", "size": 2}) as (daemon, transport):
        transport.feed("a", json(XS[0], 0))
        daemon.pipeline.drain()
        transport.feed("a", *(json(x, i) for i, x in enumerate(XS[1:6], start=1)))
        daemon.pipeline.drain()
        second = predictions(transport, "a")[1]
    assert (second.seq, second.missed, second.flags) == (4, 3, Flag.GAP)


async def test_latest_keeps_one_message_of_each_stream() -> None:
    async with serving(inbox={"policy": "latest", "size": 10}) as (daemon, transport):
        for i, x in enumerate(XS):
            transport.feed("a", json(x, i))
            transport.feed("b", json(x, i))
        daemon.pipeline.drain()
        assert daemon.pipeline.dropped == 78
    assert [p.seq for p in predictions(transport, "a") + predictions(transport, "b")] == [39, 39]


async def test_stop_answers_what_waits() -> None:
    async with serving(inbox={"policy": "drop_oldest", "size": 100}) as (_, transport):
        transport.feed("a", *(json(x) for x in XS))
    assert len(predictions(transport, "a")) == 40


async def test_idle_stream_is_forgotten_and_its_next_prediction_flagged() -> None:
    async with serving(stream={"idle_s": 0.01}) as (daemon, transport):
        transport.feed("a", json(XS[0]), json(XS[1]))
        async with asyncio.timeout(5):
            while "a" in daemon.pipeline.sessions:  # noqa: ASYNC110 - nobody sets an event then
                await asyncio.sleep(0)
        transport.feed("a", json(XS[0]))
        first, second, third = predictions(transport, "a")
    assert (first.flags, second.flags, third.flags) == (Flag.RESET, Flag(0), Flag.RESET)
    np.testing.assert_array_equal(first.y, third.y)


async def test_one_stream_too_many_is_refused_and_counted() -> None:
    async with serving(stream={"max_streams": 2}) as (daemon, transport):
        for stream in ("a", "b", "c"):
            transport.feed(stream, json(XS[0]))
        assert daemon.pipeline.refused == {"streams": 1}
        assert len(daemon.pipeline.sessions) == 2
