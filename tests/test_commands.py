"""What a running daemon can be told, and what its streams make of it."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.config.load import Settings, load_config
from stream_rnn.daemon.commands import VERBS, Commands
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.daemon.sources import Source
from stream_rnn.errors import CommandError
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.recordings.proof import prove
from stream_rnn.sample import F32, Flag, Prediction
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import CODECS
from tests.small import small_model

XS: F32 = np.random.default_rng(5).poisson(2, (60, 5)).astype(np.float32)
FIRST = small_model()


class Told:
    """A daemon in memory that can be told things."""

    def __init__(self, daemon: Daemon, transport: MemoryTransport) -> None:
        self.daemon, self.transport = daemon, transport
        self.model: Model = FIRST

    def feed(self, numbers: range, stream: str = "a") -> None:
        for i in numbers:
            self.transport.feed(stream, msgspec.json.encode({"seq": i, "x": XS[i].tolist()}))

    async def tell(self, verb: str, **fields: object) -> Any:
        """The result; raises what is answered as an error."""
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        payload = msgspec.json.encode({"id": "1", **fields})
        self.daemon._commands.take(
            payload, lambda _, answer: answered.set_result(msgspec.json.decode(answer)), verb
        )
        answer = await answered
        assert (answer["id"], answer["verb"]) == ("1", verb)
        if not answer["ok"]:
            raise CommandError(answer["error"])
        return answer["result"]

    def predictions(self, stream: str = "a") -> list[Prediction]:
        topic = f"stream_rnn/decoder/predictions/{stream}"
        payloads = [payload for t, payload in self.transport.published if t == topic]
        return [CODECS["json"].decode_prediction(payload)[0] for payload in payloads]

    def ys(self, stream: str = "a") -> F32:
        return np.array([p.y for p in self.predictions(stream)])

    def events(self, kind: str) -> list[str]:
        events = [msgspec.json.decode(p) for t, p in self.transport.published if t.endswith("/events")]
        return [event["detail"] for event in events if event["kind"] == kind]


@contextlib.asynccontextmanager
async def told(**sections: dict[str, Any]) -> AsyncIterator[Told]:
    flags: Settings = {"model": {"path": "unused"}, "mqtt": {}, **sections}
    config = load_config(None, {}, flags)
    here: list[Told] = []
    daemon = Daemon(config, Predictor(FIRST), lambda *_: None, lambda: (config, Predictor(here[0].model)))
    transport = MemoryTransport()
    daemon.add("memory", Source(transport, "json", transport))
    daemon.pipeline.notes.recorder = daemon._new_recorder(again=False)
    # only what is in memory is served: the config's own ways in are not made
    daemon._make_sources = lambda: None  # type: ignore[method-assign]
    here.append(Told(daemon, transport))
    task = asyncio.create_task(daemon.run(), name="daemon")
    await transport.ready()
    try:
        yield here[0]
    finally:
        daemon.stop()
        await task


def offline(xs: F32, model: Model = FIRST) -> F32:
    return Predictor(model).run(xs)


@pytest.mark.parametrize(
    ("payload", "verb", "error"),
    [
        (b"{", "reset", "command 'reset': Input data was truncated"),
        (b'{"strem":"a"}', "reset", "command 'reset': Object contains unknown field `strem`"),
        (b'{"id":"a/b"}', "reset", "command 'reset': Expected `str` matching regex"),
        (b"{}", "explode", "command 'explode': expected a verb, one of reset, reload"),
        (b"", "", "command '': expected a verb, one of reset, reload"),
        (b'{"token":"wrong"}', "reset", "command 'reset': expected the token of [commands], got another"),
        (b"{}", "reset", "command 'reset': expected the token of [commands], got none"),
    ],
)
def test_what_is_no_command_is_answered_and_told(payload: bytes, verb: str, error: str) -> None:
    happened: list[tuple[str, str]] = []
    answers: list[dict[str, Any]] = []
    token = "secret" if "token" in error else None
    commands = Commands(dict.fromkeys(VERBS, lambda _: None), token, lambda *what: happened.append(what))
    commands.take(payload, lambda _, answer: answers.append(msgspec.json.decode(answer)), verb)
    assert answers[0]["ok"] is False
    assert answers[0]["error"].startswith(error)
    assert [kind for kind, _ in happened] == ["command_refused"]
    assert "secret" not in str(answers) + str(happened)


def test_the_right_token_lets_a_command_through() -> None:
    answers: list[bytes] = []
    commands = Commands({"reset": lambda command: command.stream}, "secret", lambda *_: None)
    commands.take(b'{"verb":"reset","token":"secret","stream":"a"}', lambda _, a: answers.append(a))
    assert msgspec.json.decode(answers[0])["result"] == "a"


async def test_reset_starts_one_stream_anew_and_flags_it() -> None:
    async with told() as here:
        here.feed(range(10))
        here.feed(range(10), "b")
        assert await here.tell("reset", stream="a") == {"streams": 1}
        here.feed(range(10, 20))
        here.feed(range(10, 20), "b")
        flags = [p.flags for p in here.predictions()]
        np.testing.assert_array_equal(here.ys()[10:], offline(XS[10:20]))
        np.testing.assert_array_equal(here.ys("b"), offline(XS[:20]))
        assert here.events("command") == ["reset 'a'"]
    assert flags[9:12] == [Flag(0), Flag.RESET, Flag(0)]


async def test_reset_of_all_starts_every_stream_anew() -> None:
    async with told() as here:
        here.feed(range(3))
        here.feed(range(3), "b")
        assert await here.tell("reset", all=True) == {"streams": 2}
        for stream in "ab":
            here.feed(range(3, 6), stream)
            np.testing.assert_array_equal(here.ys(stream)[3:], offline(XS[3:6]))


@pytest.mark.parametrize(
    ("verb", "fields", "error"),
    [
        (
            "reset",
            {"stream": "x"},
            "command 'reset': stream 'x': expected one that is served, got an unknown one",
        ),
        ("reset", {}, "command 'reset': expected either stream or all, got neither"),
        ("pause", {"stream": "a", "all": True}, "command 'pause': expected either stream or all, got both"),
        ("snapshot", {"all": True}, "command 'snapshot': expected a section [recording]"),
        ("restore", {"state": "%"}, "command 'restore': state: expected base64"),
        ("restore", {"state": "AAAA"}, "command 'restore': session state: "),
    ],
)
async def test_what_cannot_be_done_is_answered_and_changes_nothing(
    verb: str, fields: dict[str, Any], error: str
) -> None:
    async with told() as here:
        here.feed(range(5))
        with pytest.raises(CommandError) as refused:
            await here.tell(verb, **fields)
        assert str(refused.value).startswith(error)
        here.feed(range(5, 10))
        np.testing.assert_array_equal(here.ys(), offline(XS[:10]))


async def test_a_paused_stream_is_declined_and_counted_and_then_goes_on_over_a_gap() -> None:
    async with told() as here:
        here.feed(range(5))
        assert await here.tell("pause", stream="a") == {"paused": ["a"]}
        here.feed(range(5, 8))
        here.feed(range(2), "b")
        assert (await here.tell("status"))["declined"] == 3
        assert await here.tell("resume", stream="a") == {"paused": []}
        here.feed(range(8, 10))
        got = here.predictions()
        assert len(here.predictions("b")) == 2
    assert [(p.seq, p.missed) for p in got[4:7]] == [(4, 0), (8, 3), (9, 0)]


async def test_everything_can_be_paused() -> None:
    async with told() as here:
        assert await here.tell("pause", all=True) == {"paused": ["*"]}
        here.feed(range(4))
        await here.tell("resume", all=True)
        here.feed(range(4, 6))
        assert [p.seq for p in here.predictions()] == [4, 5]


async def test_a_snapshot_restored_goes_on_as_if_nothing_had_been() -> None:
    async with told() as here:
        here.feed(range(20))
        snapshot = await here.tell("snapshot", stream="a")
        assert (snapshot["stream"], snapshot["seq"]) == ("a", 19)
        await here.tell("reset", stream="a")
        here.feed(range(20, 25))
        assert await here.tell("restore", state=snapshot["state"]) == {"stream": "a", "seq": 19}
        here.feed(range(20, 40))
        got = here.predictions()
    np.testing.assert_array_equal(np.array([p.y for p in got[25:]]), offline(XS[:40])[20:])
    assert got[25].flags == Flag.RESTORED


async def test_latency_gives_the_histograms_of_every_group() -> None:
    groups = {"groups": ["left-*"]}
    async with told(latency=groups, daemon={"metrics_s": 0.05}) as here:
        here.feed(range(30), "left-hand")
        here.feed(range(10), "right-hand")
        async with asyncio.timeout(5):
            while not (answer := await here.tell("latency")).get("left-*"):  # noqa: ASYNC110 - counts, not events
                await asyncio.sleep(0)
    assert sum(answer["left-*"]["step"]["counts"]) == 30
    assert sum(answer["other"]["step"]["counts"]) == 10


async def test_reload_carries_the_state_to_a_model_of_the_same_architecture() -> None:
    other = small_model(seed=2)
    async with told() as here:
        here.feed(range(20))
        here.model = other
        assert await here.tell("reload") == {"model": other.hash, "states": "carried", "failed": {}}
        here.feed(range(20, 40))
        got = here.predictions()
        birth = msgspec.json.decode(here.transport.retained["stream_rnn/decoder/info"])
    before, after = Predictor(FIRST), Predictor(other)
    memory = before.new_memory().data
    y = np.empty(2, dtype=np.float32)
    for x in XS[:20]:
        before.advance(memory, 0, x, y)
    for x, prediction in zip(XS[20:40], got[20:], strict=True):
        after.advance(memory, 0, x, y)
        np.testing.assert_array_equal(prediction.y, y)
    assert [p.flags for p in got[19:22]] == [Flag(0), Flag.RELOADED, Flag(0)]
    assert (got[19].model, got[20].model) == (FIRST.hash, other.hash)
    assert birth["model"]["hash"] == other.hash


async def test_reload_of_another_architecture_is_refused_unless_forced() -> None:
    wider = small_model(units=9)
    async with told() as here:
        here.feed(range(10))
        here.model = wider
        with pytest.raises(
            CommandError, match=r"model: expected architecture .* gru 7.* got .* gru 9.* nothing changed"
        ):
            await here.tell("reload")
        here.feed(range(10, 20))
        np.testing.assert_array_equal(here.ys(), offline(XS[:20]))
        assert (await here.tell("reload", force=True))["states"] == "anew"
        here.feed(range(20, 30))
        assert here.predictions()[20].flags == Flag.RESET | Flag.RELOADED
        np.testing.assert_array_equal(here.ys()[20:], offline(XS[20:30], wider))


async def test_a_recording_proves_itself_over_resets_restores_and_pauses(tmp_path: Path) -> None:
    recording = {"path": str(tmp_path / "r.mcap"), "states_every": 7}
    async with told(recording=recording) as here:
        here.feed(range(10))
        snapshot = await here.tell("snapshot", stream="a")
        await here.tell("reset", stream="a")
        here.feed(range(13, 20))  # a gap right after the reset
        await here.tell("restore", state=snapshot["state"])
        here.feed(range(10, 20))
        await here.tell("pause", all=True)
        here.feed(range(20, 25))
        await here.tell("resume", all=True)
        here.feed(range(25, 30))
        assert await here.tell("snapshot", all=True) == {"streams": 1, "path": recording["path"]}
        count = len(here.predictions())
    proof = prove(McapRecording(tmp_path / "r.mcap"))
    assert (proof.difference, proof.compared, proof.exact) == (None, count, True)


async def test_what_a_recording_cannot_take_after_a_reload_is_counted_and_a_snapshot_says_so(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "away"
    folder.mkdir()
    async with told(recording={"path": str(folder / "r.mcap")}) as here:
        here.feed(range(3))
        shutil.rmtree(folder)
        here.model = small_model(seed=2)
        await here.tell("reload")
        assert here.events("recording_failed") == [
            f"recording.path '{folder}/r.mcap': expected a new file, got No such file or directory"
        ]
        before = here.daemon.status()["unrecorded"]
        here.feed(range(3, 7))
        assert here.daemon.status()["unrecorded"] >= before + 8  # samples and predictions
        with pytest.raises(CommandError, match="expected a recording to write all states into, got none: "):
            await here.tell("snapshot", all=True)


async def test_a_reload_begins_another_recording_and_both_prove_themselves(tmp_path: Path) -> None:
    recording = {"path": str(tmp_path / "r.mcap"), "states_every": 7}
    async with told(recording=recording) as here:
        here.feed(range(20))
        here.feed(range(4), "idle")
        here.model = small_model(seed=2)
        await here.tell("reload")
        here.feed(range(20, 45))
    for name, samples in (("r.mcap", 24), ("r-2.mcap", 25)):
        proof = prove(McapRecording(tmp_path / name))
        assert (proof.difference, proof.compared) == (None, samples)
