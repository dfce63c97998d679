"""Spikes into the daemon over the transport in memory: what is predicted is what `evaluate` says offline."""

import asyncio
import functools
import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stream_rnn
from stream_rnn.config.load import load_config
from stream_rnn.daemon.binned import Rehearsed
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.direct import predictions_of
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.recordings.proof import prove
from stream_rnn.sample import F32, Flag, Prediction, Spikes
from stream_rnn.session.rules import Packets, Rules
from stream_rnn.session.table import Sessions
from stream_rnn.training.evaluate import decode
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import CODECS, SPIKES, AnyWire, SpikesName, answer_of
from tests.serving import serving_in_memory
from tests.small import saved_model, small_model

MS = 1_000_000
START_NS = 1_795_458_454_447_817_244
MODEL = small_model(bin_samples=2)
PREDICTOR = Predictor(MODEL)
ROWS = 40
RNG = np.random.default_rng(4)
UNITS = RNG.integers(0, 5, 300)
AFTER_NS = RNG.integers(0, ROWS * 10 * MS, 300)  # since the start
CONFIG = load_config(None, {}, {"model": {"path": "unused"}, "mqtt": {}})
BASE = "stream_rnn/decoder"
serving = functools.partial(serving_in_memory, MODEL)


def packet(from_ns: int, to_ns: int, stream: str = "") -> Spikes:
    """What happened between two instants since the start."""
    inside = np.flatnonzero((from_ns <= AFTER_NS) & (to_ns > AFTER_NS))
    times_ns = [START_NS + t_ns for t_ns in AFTER_NS[inside].tolist()]
    return Spikes(stream, START_NS + from_ns, START_NS + to_ns, UNITS[inside].tolist(), times_ns)


def packets(step_ms: float = 5, stop_ms: float = 10 * ROWS, wire: SpikesName = "spikes_json") -> list[bytes]:
    edges = [round(t * MS) for t in np.arange(0, stop_ms, step_ms)] + [round(stop_ms * MS)]
    return [SPIKES[wire].encode(packet(*edge)) for edge in itertools.pairwise(edges)]


def said(transport: MemoryTransport, stream: str = "a", wire: AnyWire = "spikes_json") -> list[Prediction]:
    topic, codec = f"{BASE}/predictions/{stream}", CODECS[answer_of(wire)]
    return [codec.decode_prediction(payload)[0] for t, payload in transport.published if t == topic]


def rows() -> F32:
    return stream_rnn.bin_spikes(AFTER_NS / 1e9, UNITS, MODEL.card.rate_hz, channels=5, rows=ROWS)


def evaluated() -> F32:
    """What `evaluate` makes of the same spikes."""
    recording = stream_rnn.recording(rows(), np.zeros((ROWS, 2)), MODEL.card.rate_hz, name="spikes")
    return decode(PREDICTOR, recording, "all").y


def ys(predictions: list[Prediction]) -> F32:
    return np.array([p.y for p in predictions], dtype=np.float32)


@pytest.mark.parametrize("wire", ["spikes_json", "spikes_msgpack"])
async def test_live_equals_evaluate_bit_for_bit(wire: SpikesName) -> None:
    async with serving(wire) as (_, transport):
        for payload in packets(wire=wire):
            transport.feed("a", payload)
        got = said(transport, wire=wire)
    assert [(p.seq, p.t_source_ns) for p in got] == [(k, START_NS + (k + 1) * 10 * MS) for k in range(ROWS)]
    np.testing.assert_array_equal(ys(got), evaluated())


@given(
    cuts=st.lists(st.integers(1, ROWS * 10 * MS - 1), max_size=30, unique=True),
    read=st.integers(1, 40),
)
@settings(max_examples=30, deadline=None)
def test_where_spikes_are_cut_into_packets_and_packets_into_reads_does_not_matter(
    cuts: list[int], read: int
) -> None:
    edges = [0, *sorted(cuts), ROWS * 10 * MS]
    payloads = [SPIKES["spikes_json"].encode(packet(*edge)) for edge in itertools.pairwise(edges)]

    async def live() -> list[Prediction]:
        async with serving("spikes_json") as (_, transport):
            for at in range(0, len(payloads), read):
                transport.feed("a", *payloads[at : at + read])
            return said(transport)

    np.testing.assert_array_equal(ys(asyncio.run(live())), evaluated())


async def test_interleaved_streams_equal_separate_ones() -> None:
    ended = ROWS * 10 * MS
    cut = [(t, t + 7 * MS) for t in range(0, ended, 7 * MS)]
    async with serving("spikes_json") as (_, transport):
        for mine, other in zip(packets(), [packet(*edge, stream="b") for edge in cut], strict=False):
            transport.feed("a", mine, SPIKES["spikes_json"].encode(other))
        a, b = (ys(said(transport, stream)) for stream in "ab")
    np.testing.assert_array_equal(b, evaluated()[: len(b)])
    np.testing.assert_array_equal(a, evaluated()[: len(a)])
    assert (len(a), len(b)) == (29, 40)


async def test_sender_is_answered_once_a_row_and_told_what_was_refused() -> None:
    bad = msgspec.json.encode({"from_ns": 1, "to_ns": 2, "units": [5], "times_ns": [1]})
    async with serving("spikes_json", reply=True) as (daemon, transport):
        transport.feed("tcp:1", *packets(stop_ms=10), bad, b'{"x": [1]}')
        assert daemon.pipeline.refused == {"unit": 1, "fields": 1}
    prediction, unit, fields = (msgspec.json.decode(payload) for _, payload in transport.replies)
    assert prediction["y"] == evaluated()[0].tolist()
    assert unit == {"error": "unit", "detail": "stream 'tcp:1': expected units from 0 to 4, got 5 at 0"}
    assert fields["detail"] == "stream 'tcp:1': Object missing required field `from_ns`"


async def test_every_packet_is_counted() -> None:
    every = packets()
    async with serving("spikes_json") as (daemon, transport):
        transport.feed("a", *every[:4], every[2], *every[8:12], every[5])
        got, packets_told = said(transport), daemon.pipeline.sessions.packets
    assert [(p.seq, p.missed) for p in got] == [(0, 0), (1, 0), (4, 2), (5, 0)]
    assert got[2].flags == Flag.GAP
    counts = [len(packet(t * 5 * MS, (t + 1) * 5 * MS).units) for t in (0, 1, 2, 3, 8, 9, 10, 11, 2, 5)]
    assert packets_told == Packets(
        taken=8, duplicate=1, late=1, gaps=1, spikes=sum(counts), repeated=sum(counts[-2:])
    )


async def test_dropped_packets_are_a_gap_of_the_stream() -> None:
    async with serving("spikes_json", inbox={"policy": "drop_oldest", "size": 2}) as (daemon, transport):
        transport.feed("a", *packets()[:2])
        daemon.pipeline.drain()
        transport.feed("a", *packets()[2:8])
        daemon.pipeline.drain()
        assert daemon.pipeline.dropped == 4
        assert [(p.seq, p.missed) for p in said(transport)] == [(0, 0), (3, 2)]


async def test_rows_of_a_paused_stream_are_declined_and_a_gap_when_it_goes_on() -> None:
    async with serving("spikes_json") as (daemon, transport):
        for number, payload in enumerate(packets(stop_ms=60)):
            if number == 4:
                daemon.pipeline.pauses.pause("a")
            if number == 9:
                daemon.pipeline.pauses.resume("a")
            transport.feed("a", payload)
        assert daemon.pipeline.pauses.declined == 2
        assert [(p.seq, p.missed) for p in said(transport)] == [(0, 0), (1, 0), (4, 2), (5, 0)]


async def test_forgotten_stream_begins_its_rows_where_it_is_heard_of_again() -> None:
    async with serving("spikes_json") as (daemon, transport):
        transport.feed("a", *packets(stop_ms=15))
        assert daemon.pipeline.evict_idle(2**63 - 1) == ["a"]
        transport.feed("a", *packets()[3:5])
        first, second = said(transport)
    assert (second.seq, second.flags & Flag.RESET) == (0, Flag.RESET)
    assert (first.t_source_ns, second.t_source_ns) == (START_NS + 10 * MS, START_NS + 25 * MS)


async def test_stream_goes_on_in_the_middle_of_a_row_after_a_restore_and_a_reload() -> None:
    every = packets()
    async with serving("spikes_json") as (daemon, transport):
        transport.feed("a", *every[:13])
        session = daemon.pipeline.sessions.peek("a")
        assert session is not None
        state = session.to_bytes()
        transport.feed("a", *every[13:20])
        daemon.pipeline.restore(state)
        transport.feed("a", *every[13:31])
        daemon.pipeline.adopt(CONFIG, PREDICTOR)
        transport.feed("a", *every[31:])
        got = said(transport)
    np.testing.assert_array_equal(ys(got[10 - 4 :])[-34:], evaluated()[-34:])
    assert [p.seq for p in got] == [*range(10), *range(6, 40)]


@pytest.mark.parametrize("states_every", [0, 7])
async def test_recording_of_packets_proves_itself_and_plays_from_anywhere(
    tmp_path: Path, states_every: int
) -> None:
    path, every = tmp_path / "r.mcap", packets()
    model = {"path": str(saved_model(tmp_path, MODEL))}
    recording = {"path": str(path), "flush_s": 0.01, "states_every": states_every}
    sections: dict[str, Any] = {"model": model, "recording": recording, "stream": {"restart_after": 3}}
    async with serving("spikes_json", **sections) as (daemon, transport):
        transport.feed("a", *every[:9], every[4], *every[9:15], *every[20:41])  # a repeat, a gap
        daemon.pipeline.reset("a")
        transport.feed("a", *every[41:70])
        transport.feed("a", *every[2:12], every[15], *every[16:30])  # the clock is set back
        got = said(transport)
    told = [(p.seq, p.missed, p.flags & (Flag.GAP | Flag.RESET)) for p in got]
    gap, reset = Flag.GAP, Flag.RESET
    odd = [(0, 0, reset), (10, 3, gap), (20, 0, reset), (35, 0, reset), (40, 2, gap)]
    assert [each for each in told if each[2]] == odd
    proof = prove(McapRecording(path))
    assert (proof.difference, proof.exact, proof.whole) == (None, True, True)
    assert (proof.samples, proof.compared) == (len(got), len(got))
    again = list(predictions_of(McapRecording(path)))
    assert [(p.seq, p.y.tobytes()) for p in again] == [(p.seq, p.y.tobytes()) for p in got]


async def test_what_is_done_ahead_of_a_packet_leaves_no_trace() -> None:
    async with serving("spikes_json") as (daemon, transport):
        for number, payload in enumerate(packets()):
            transport.feed("a", payload)
            session, ahead = daemon.pipeline.sessions.peek("a"), daemon.pipeline.ahead
            assert session is not None
            assert ahead is not None
            if number % 2:
                ahead.make_ready(session, Rehearsed("spikes_json", daemon.pipeline.sessions), payload)
        np.testing.assert_array_equal(ys(said(transport)), evaluated())


def test_rehearsed_packet_is_one_row_of_all_its_spikes() -> None:
    sessions = Sessions(PREDICTOR, Rules(), "run", 1)
    payload = SPIKES["spikes_json"].encode(Spikes("b", 0, 9, [1, 3, 1], [0, 1, 8]))
    (sample,) = Rehearsed("spikes_json", sessions).decode_samples(payload, "a")
    assert (sample.stream, sample.seq, sample.x.tolist()) == ("b", None, [0, 2, 0, 1, 0])
    assert len(sessions) == 0


async def test_birth_and_metrics_tell_of_packets() -> None:
    async with serving("spikes_json", daemon={"metrics_s": 0.05}) as (_, transport):
        transport.feed("a", *packets(stop_ms=20))
        async with asyncio.timeout(5):
            while not (told := [p for t, p in transport.published if t == f"{BASE}/metrics"]):  # noqa: ASYNC110 - nobody sets an event then
                await asyncio.sleep(0)
        birth = msgspec.json.decode(transport.retained[f"{BASE}/info"])
    assert birth["sources"]["memory"]["wire"] == "spikes_json"
    metrics = msgspec.json.decode(told[0])
    assert (metrics["packets"]["taken"], metrics["samples"]["stepped"]) == (4, 2)
