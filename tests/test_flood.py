"""A flood of made-up names: what is keyed by what a stranger sends stays bounded, a refusal is counted."""

import asyncio
import gc
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import board
from stream_rnn.cli.board import Board
from stream_rnn.daemon.commands import MOST_UNDER_WAY, Commands
from stream_rnn.latency.stages import Latency
from stream_rnn.recordings import mcap
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.sample import Flag, Prediction, Sample, Spikes
from stream_rnn.transports import datagram
from stream_rnn.transports.datagram import DatagramServer, UdpSettings
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.transports.mqtt_packets import Writer
from stream_rnn.wire import CODECS, SPIKES, AnyWire, answer_of
from tests.serving import serving_in_memory
from tests.small import small_model

MOST, FLOOD = 50, 5_000
MODEL = small_model()
X = np.ones(5, np.float32)


def payload(wire: AnyWire, stream: str) -> bytes:
    """A sample or packet that names its stream itself."""
    if wire == "spikes_json":
        return SPIKES[wire].encode(Spikes(stream, 0, 20_000_000, [1], [5]))
    assert wire in {"json", "msgpack", "frame"}
    return CODECS[answer_of(wire)].encode_sample(Sample(stream, 0, None, X))


def flood(transport: MemoryTransport, wire: AnyWire, first: int, count: int) -> None:
    for number in range(first, first + count, 10):  # ten a read: they go together
        transport.feed("t", *(payload(wire, f"{number + i}-{'x' * 150}") for i in range(10)))
        transport.published.clear()
        transport.replies.clear()


@pytest.mark.parametrize("wire", ["json", "frame", "spikes_json"])
async def test_new_streams_without_end_are_refused_and_counted_and_take_no_memory(wire: AnyWire) -> None:
    sections = {"stream": {"max_streams": MOST}, "latency": {"groups": ["1*", "2*"]}}
    async with serving_in_memory(MODEL, wire, **sections) as (daemon, transport):  # type: ignore[arg-type]  # spikes too
        flood(transport, wire, 0, 2000)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        flood(transport, wire, 2000, FLOOD)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(daemon.pipeline.sessions) == MOST
        assert daemon.pipeline.refused == {"streams": 2000 + FLOOD - MOST}
        assert after - before < 100_000
        assert len(daemon._events._limiter._windows) < 10
        assert set(daemon.pipeline.latency._known) <= {s.stream for s in daemon.pipeline.sessions}


async def test_streams_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    recording = {"path": str(tmp_path / "r.mcap"), "states_every": 1}
    async with serving_in_memory(MODEL, "json", recording=recording, stream={"max_streams": MOST}) as served:
        daemon, transport = served
        for number in range(0, 3000, MOST):
            flood(transport, "json", number, MOST)
            daemon.pipeline.evict_idle(1 << 62)
        pipeline = daemon.pipeline
        assert (len(pipeline.sessions), len(pipeline.notes._begun)) == (0, 0)
        assert pipeline.sessions.evicted == 3000
        assert len(pipeline.sessions._shared.memories._free) == MOST
        assert pipeline.ahead is not None
        assert len(pipeline.ahead._rhythms) <= 8


async def test_a_recording_of_more_streams_than_it_can_number_counts_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcap, "MOST_CHANNELS", 21)
    path = tmp_path / "r.mcap"
    async with serving_in_memory(MODEL, "json", recording={"path": str(path), "states_every": 0}) as served:
        daemon, transport = served
        flood(transport, "json", 0, 100)
    entries = [entry for entry in McapRecording(path).entries() if entry.kind != "events"]
    assert 0 < len({entry.stream for entry in entries}) <= 21
    assert daemon.pipeline.notes.unrecorded == 200 - len(entries)


def test_the_groups_of_streams_are_remembered_for_some_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_rnn.latency.stages.MAX_KNOWN", 10)
    latency = Latency(["a*"])
    for number in range(1000):
        latency.of(f"a{number}")
    assert len(latency._known) <= 10
    ungrouped = Latency()
    ungrouped.of("a")
    assert ungrouped._known == {}


def test_topics_to_publish_on_are_remembered_where_they_are_short() -> None:
    writer = Writer(new=True)
    for number in range(100):
        assert writer.topic(f"{number}" * 10_000) is not None
    assert writer._topics == {}


def test_senders_of_datagrams_are_remembered_for_some_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram, "MAX_SENDERS", 10)
    server = DatagramServer(UdpSettings(port=0))
    with UdpSettings(port=0).open() as sock:
        for number in range(1000):
            server._sender(sock, ("192.0.2.1", number))
    assert len(server._senders) <= 10


def test_a_watcher_shows_some_streams_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "MOST_STREAMS", 10)
    shown = Board("d", CODECS["json"])
    for number in range(100):
        told = Prediction(f"s{number}", 0, "s", "m", X, Flag(0))
        shown.take(f"d/predictions/s{number}", CODECS["json"].encode_prediction(told, 0), 0)
        shown.take_truth(f"t{number}", b'{"seq": 0, "y": [1]}')
    assert len(shown.streams) == 10
    assert "t99" in shown.streams


async def test_commands_that_wait_for_each_other_are_refused_beyond_some() -> None:
    held = asyncio.Event()
    answers: list[bytes] = []
    commands = Commands({"reload": lambda _: held.wait()}, None, lambda *_: None)
    for _ in range(MOST_UNDER_WAY + 3):
        commands.take(b'{"verb": "reload"}', lambda _, answer: answers.append(answer))
    expected = f"command 'reload': expected at most {MOST_UNDER_WAY} commands under way, got one more"
    assert [msgspec.json.decode(answer)["error"] for answer in answers] == [expected] * 3
    held.set()
    while commands._under_way:  # noqa: ASYNC110 - they end by themselves
        await asyncio.sleep(0)
    assert len(answers) == MOST_UNDER_WAY + 3


@pytest.mark.parametrize("wire", ["json", "msgpack", "frame", "spikes_json"])
@pytest.mark.parametrize("together", [1, 10])
async def test_a_pinned_payload_speaks_for_no_other_stream(wire: AnyWire, together: int) -> None:
    async with serving_in_memory(MODEL, wire, stream={"pinned": True}) as (daemon, transport):
        transport.feed("mine", *[payload(wire, "another")] * together)
        assert daemon.pipeline.refused == {"stream": together}
        assert len(daemon.pipeline.sessions) == 0
        transport.feed("mine", *[payload(wire, ""), payload(wire, "mine")] * together)
        assert [session.stream for session in daemon.pipeline.sessions] == ["mine"]
        assert daemon.pipeline.refused == {"stream": together}
