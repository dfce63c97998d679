"""Recording and replay as proof: equal bit for bit, or the first difference by name."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.config.load import Settings, load_config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.daemon.sources import Source
from stream_rnn.errors import ConfigError
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.direct import predictions_of
from stream_rnn.recordings.mcap import Entry, McapRecording, McapWriter, StateFields
from stream_rnn.recordings.proof import Proof, prove
from stream_rnn.recordings.recorder import Recorder
from stream_rnn.sample import F32
from stream_rnn.session.stored import Stored
from stream_rnn.transports.memory import MemoryTransport
from tests.small import saved_model, small_model

XS: F32 = np.random.default_rng(8).poisson(2, (120, 5)).astype(np.float32)


def sample(seq: int, stream: str = "a") -> tuple[str, bytes]:
    return stream, msgspec.json.encode({"seq": seq, "x": XS[seq % 120].tolist()})


async def recorded(folder: Path, feeds: list[tuple[str, bytes]], **sections: dict[str, object]) -> Path:
    """What a daemon records of these messages."""
    model = saved_model(folder, small_model(bin_samples=2))
    path = folder / "r.mcap"
    flags: Settings = {
        "model": {"path": str(model)},
        "tcp": {"port": 0},
        "recording": {"path": str(path), "states_every": 10, "flush_s": 0.01},
        **sections,
    }
    daemon = Daemon(load_config(None, {}, flags), Predictor.load(model), lambda *_: None)
    daemon.open_configured()
    transport = MemoryTransport()
    daemon.sources.clear()
    daemon.add("memory", Source(transport, "json", transport))
    task = asyncio.create_task(daemon.run(), name="daemon")
    await transport.ready()
    for stream, payload in feeds:
        transport.feed(stream, payload)
    daemon.stop()
    await task
    return path


def rewritten(path: Path, change: Callable[[Entry], Entry | None], **header: str) -> Path:
    """The recording with some entries changed or left out."""
    recording = McapRecording(path)
    entries = [changed for entry in recording.entries() if (changed := change(entry)) is not None]
    path.unlink()
    writer = McapWriter(path.open("xb"), recording.header | header, recording.model)
    writer.write(entries)
    writer.close()
    return path


def proof_of(path: Path) -> Proof:
    return prove(McapRecording(path))


async def test_recording_proves_itself(tmp_path: Path) -> None:
    feeds = [sample(i, stream) for i in range(60) for stream in ("a", "b")]
    proof = proof_of(await recorded(tmp_path, feeds))
    assert (proof.samples, proof.compared, proof.difference) == (120, 120, None)
    assert (proof.exact, proof.whole) == (True, True)


async def test_gaps_duplicates_restarts_and_bad_payloads_are_replayed_as_they_were(tmp_path: Path) -> None:
    numbers = [*range(10), 9, 3, *range(15, 30), *range(100, 110), *range(200, 203), *range(8)]
    feeds = [sample(i) for i in numbers] + [("a", b"{"), ("a", b"[1]")] + [sample(i) for i in range(300, 320)]
    proof = proof_of(await recorded(tmp_path, feeds, stream={"max_fill": 40, "restart_after": 5}))
    assert proof.difference is None
    assert proof.compared > 50


async def test_reorder_window_is_replayed(tmp_path: Path) -> None:
    feeds = [sample(i) for i in (0, 2, 1, 3, 6, 7, 8, 9, 5, 10)]
    proof = proof_of(await recorded(tmp_path, feeds, stream={"reorder": 3}))
    assert (proof.compared, proof.difference) == (9, None)


async def test_one_flipped_bit_of_a_prediction_is_named(tmp_path: Path) -> None:
    path = await recorded(tmp_path, [sample(i) for i in range(60)])

    def flip(entry: Entry) -> Entry:
        if entry.kind != "predictions" or entry.seq != 37:
            return entry
        prediction = msgspec.json.decode(entry.payload)
        bits = np.array(prediction["y"], dtype=np.float32).view(np.uint32)
        bits[1] ^= 1
        prediction["y"] = bits.view(np.float32).tolist()
        return entry._replace(payload=msgspec.json.encode(prediction))

    difference = proof_of(rewritten(path, flip)).difference
    assert difference is not None
    assert (difference.stream, difference.seq) == ("a", 37)
    assert difference.what.startswith("v1: recorded ")
    assert ", replayed " in difference.what
    assert difference.state == "no recorded state differs"


async def test_state_that_parted_is_named_by_layer_and_unit(tmp_path: Path) -> None:
    path = await recorded(tmp_path, [sample(i) for i in range(60)])
    model = small_model(bin_samples=2)

    def shift(entry: Entry) -> Entry:
        """Play a hidden state that went another way after sample 29: unit 2 of the second layer."""
        if entry.kind == "predictions" and entry.seq >= 30:
            prediction = msgspec.json.decode(entry.payload)
            prediction["y"][0] += 0.5
            return entry._replace(payload=msgspec.json.encode(prediction))
        if entry.kind == "states" and entry.seq >= 29:
            state = msgspec.json.decode(entry.payload, type=StateFields).bytes()
            stored = msgspec.msgpack.decode(state, type=Stored)
            memory, states = bytearray(stored.memory), Predictor(model).new_memory().states
            memory[len(memory) - states.nbytes + 4 * (7 + 2)] ^= 1
            stored.memory = bytes(memory)
            payload = msgspec.json.encode(StateFields.of(entry.seq, msgspec.msgpack.encode(stored)))
            return entry._replace(payload=payload)
        return entry

    difference = proof_of(rewritten(path, shift)).difference
    assert difference is not None
    assert (difference.seq, difference.what.split(":")[0]) == (30, "v0")
    assert difference.state == "phase 0, layer 1, h[2] (state recorded after sample 29)"


async def test_prediction_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    path = await recorded(tmp_path, [sample(i) for i in range(20)])
    without = rewritten(path, lambda e: None if (e.kind, e.seq) == ("predictions", 19) else e)
    difference = proof_of(without).difference
    assert difference is not None
    assert (difference.seq, difference.what) == (19, "replayed, but not recorded")


async def test_recording_of_another_processor_is_compared_within_a_tolerance(tmp_path: Path) -> None:
    path = await recorded(tmp_path, [sample(i) for i in range(30)])

    def nudge(entry: Entry) -> Entry:
        if entry.kind != "predictions":
            return entry
        prediction = msgspec.json.decode(entry.payload)
        prediction["y"] = [value + 1e-5 for value in prediction["y"]]
        return entry._replace(payload=msgspec.json.encode(prediction))

    proof = proof_of(rewritten(path, nudge, cpu="another"))
    assert (proof.exact, proof.difference, proof.compared) == (False, None, 30)
    assert proof.reason.startswith("cpu another, here ")
    assert proof_of(rewritten(path, lambda entry: entry, cpu="")).reason


async def test_any_offset_gives_the_predictions_of_playing_from_the_start(tmp_path: Path) -> None:
    numbers = [*range(40), 39, 30, *range(45, 100), *range(103, 120)]
    feeds = [sample(i, stream) for i in numbers for stream in ("a", "b")]
    path = await recorded(tmp_path, feeds, stream={"reorder": 2})
    recording = McapRecording(path)
    times = [entry.t_log_ns for entry in recording.entries() if entry.kind == "samples"]
    whole = [(p.stream, p.seq, p.y.tobytes()) for p in predictions_of(recording)]
    assert len(whole) > 200
    for at in range(0, len(times), len(times) // 20):
        part = [
            (p.stream, p.seq, p.y.tobytes())
            for p in predictions_of(recording, (times[at] - times[0] - 0.5) / 1e9)
        ]
        assert len(part) <= len(whole)
        for stream in ("a", "b"):
            alone = [p for p in part if p[0] == stream]
            assert alone == [p for p in whole if p[0] == stream][-len(alone) :]
            assert alone


async def test_command_tells_and_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await recorded(tmp_path, [sample(i) for i in range(30)])
    assert main(["replay", str(path), "--verify"]) == 0
    assert capsys.readouterr().out.endswith(
        "30 samples replayed, 30 predictions compared, equal bit for bit\n"
    )
    rewritten(path, lambda e: None if (e.kind, e.seq) == ("predictions", 29) else e)
    assert main(["replay", str(path), "--verify"]) == 1
    assert f"{path}: stream 'a', seq 29: replayed, but not recorded" in capsys.readouterr().out


async def test_info_counts_what_a_recording_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = await recorded(tmp_path, [sample(i) for i in (*range(20), 25)])
    assert main(["info", str(path), "--json"]) == 0
    contents = msgspec.json.decode(capsys.readouterr().out)
    stream = contents["streams"]["a"]
    assert (stream["samples"], stream["predictions"], stream["missed"], stream["states"]) == (21, 21, 5, 2)
    assert (contents["whole"], contents["model"]) == (True, True)
    assert contents["header"]["model"] == small_model(bin_samples=2).hash


async def test_recording_never_overwrites_and_hides_the_password(tmp_path: Path) -> None:
    path = await recorded(tmp_path, [sample(0)], mqtt={"username": "u", "password": "secret"})
    assert b"secret" not in path.read_bytes()
    with pytest.raises(ConfigError, match=r"expected a new file, got File exists$"):
        await recorded(tmp_path, [])


async def test_full_disk_is_told_once_and_what_follows_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    path = tmp_path / "r.mcap"
    recorder = Recorder(str(path), {"run": "r"}, None, 0.001, 1000, report=lambda *what: told.append(what))
    recorder.event(b"{}", 1)
    running = asyncio.create_task(recorder.run(), name="record")
    async with asyncio.timeout(5):
        while not list(McapRecording(path).entries()):  # noqa: ASYNC110 - nobody sets an event then
            await asyncio.sleep(0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(McapWriter, "write", full)
    recorder.event(b"{}", 2)
    await running
    recorder.event(b"{}", 3)
    recorder.close()
    assert recorder.dropped == 2
    expected = f"recording {path}: No space left on device; it ends here, and what follows is counted"
    assert told == [("recording_failed", expected)]
    assert len(list(McapRecording(path).entries())) == 1
