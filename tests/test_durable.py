"""Sessions on disk under a daemon: wherever it is cut off, what follows has the bits it would have had.

A crash is played by copying the files between two turns of the loop, which a kill leaves as they are, and
going on with another daemon on the copy. `tests/faults` kills real ones.
"""

import asyncio
import contextlib
import random
import sqlite3
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.config.load import load_config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.errors import CommandError, ConfigError, StateError
from stream_rnn.interval import PACE, Interval
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Flag, Prediction, Sample
from stream_rnn.session.rules import Rules
from stream_rnn.session.table import Sessions
from stream_rnn.transports.base import Message
from stream_rnn.wire import CODECS
from tests.opened import MODEL, PREDICTOR, TOPIC, XS, Run, flags_of, here, opened, payload
from tests.serving import serving_in_memory
from tests.small import calibrated, small_model


async def test_stopped_daemon_goes_on_where_it_was(tmp_path: Path) -> None:
    state = {"path": str(tmp_path / "s")}
    got: list[Prediction] = []
    for some in (XS[:20], XS[20:40]):
        async with serving_in_memory(MODEL, state=state) as (_, transport):
            transport.feed("a", *(payload(x) for x in some))
        found = [p for topic, p in transport.published if topic == TOPIC + "a"]
        got += [CODECS["json"].decode_prediction(p)[0] for p in found]
    assert [p.seq for p in got] == list(range(40))
    assert (got[19].flags, got[20].flags) == (Flag(0), Flag.RESTORED)
    np.testing.assert_array_equal(np.array([p.y for p in got]), PREDICTOR.run(XS[:40], "a"))


async def test_restart_reads_only_sessions_whose_samples_come(tmp_path: Path) -> None:
    folder = here(tmp_path)
    with opened(folder) as run:
        for i in range(200):
            run.feed(f"s{i}", payload(XS[0], 0))
        assert await run.durable.checkpoint()
    with opened(folder) as run:
        assert len(run.daemon.pipeline.sessions) == 0
        run.feed("s7", payload(XS[1], 1))
        assert [session.stream for session in run.daemon.pipeline.sessions] == ["s7"]
        assert run.durable.told()["restored"] == 1


async def test_evicted_stream_comes_back_where_it_was(tmp_path: Path) -> None:
    with opened(here(tmp_path)) as run:
        run.feed("a", payload(XS[0]), payload(XS[1]))
        assert run.durable.evict_idle(2**63 - 1) == []  # it is not on disk yet
        assert await run.durable.checkpoint()
        assert run.durable.evict_idle(2**63 - 1) == ["a"]
        run.feed("a", payload(XS[2]))
        last = run.predictions("a")[-1]
    assert (last.seq, last.flags) == (2, Flag.RESTORED)
    np.testing.assert_array_equal(last.y, PREDICTOR.run(XS[:3], "b")[2])


async def test_what_the_disk_refuses_is_neither_released_nor_evicted_and_goes_on_when_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(here(tmp_path), redelivers=True) as run:
        acknowledged: list[int] = []
        run.durable.receipts.begin(acknowledged.extend)
        run.feed("a", payload(XS[0], 0))
        run.durable.receipts.take([1])
        with monkeypatch.context() as full:
            full.setattr(run.durable._store, "commit", refuse)
            assert not await run.durable.checkpoint()
            assert not await run.durable.checkpoint()
        assert (acknowledged, run.durable.evict_idle(2**63 - 1)) == ([], [])
        assert (run.told, run.durable.failed) == ([("state_failed", "the disk is full")], "the disk is full")
        assert await run.durable.checkpoint()
        assert (acknowledged, run.durable.failed, run.told[1][0]) == ([1], "", "state_mended")
        assert run.durable._store.find("a") is not None


def refuse(*_: object, **__: object) -> None:
    raise StateError("the disk is full")


async def test_disk_that_refuses_makes_the_daemon_unwell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_in_memory(MODEL, state={"path": str(tmp_path / "s")}) as (daemon, transport):
        assert daemon.durable is not None
        with monkeypatch.context() as full:
            full.setattr(daemon.durable._store, "commit", refuse)
            transport.feed("a", payload(XS[0]))
            await daemon.durable.checkpoint()
            assert daemon._unwell() == {"state": "the disk is full"}
        await daemon.durable.checkpoint()
        assert daemon._unwell() == {}


async def test_checkpoint_that_changes_nothing_writes_nothing_and_still_acknowledges(tmp_path: Path) -> None:
    with opened(here(tmp_path), redelivers=True) as run:
        acknowledged: list[int] = []
        run.durable.receipts.begin(acknowledged.extend)
        run.deliver(Message("a", b"{", 0, 0))
        run.durable.receipts.take([1])
        assert await run.durable.checkpoint()
        assert (acknowledged, run.durable.told()["checkpoints"]) == ([1], 0)


async def test_forgotten_stream_begins_anew(tmp_path: Path) -> None:
    folder = here(tmp_path)
    with opened(folder) as run:
        run.durable.opened("tcp:1")
        run.feed("tcp:1", payload(XS[0]))
        assert await run.durable.checkpoint()
        run.durable.forget("tcp:1")
        run.feed("tcp:1", payload(XS[0]))
        first, second = run.predictions("tcp:1")
        assert await run.durable.checkpoint()
    assert (first.seq, second.seq, second.flags) == (0, 0, Flag.RESET)
    np.testing.assert_array_equal(first.y, second.y)


async def test_reset_of_a_stream_that_is_only_on_disk_starts_its_state_anew(tmp_path: Path) -> None:
    with opened(here(tmp_path)) as run:
        for stream in ("a", "b"):
            run.feed(stream, *(payload(x, i) for i, x in enumerate(XS[:3])))
        assert await run.durable.checkpoint()
        assert run.durable.evict_idle(2**63 - 1) == ["a", "b"]
        assert run.daemon.pipeline.reset("a") == ["a"]
        assert run.daemon.pipeline.reset(None) == ["a"]
        run.durable.reset_all()
        assert await run.durable.checkpoint()
        for stream in ("a", "b"):
            run.feed(stream, payload(XS[2], 2), payload(XS[0], 3))  # known still: a repeat is none less
            last = run.predictions(stream)[-1]
            assert (last.seq, last.flags) == (3, Flag.RESET | Flag.RESTORED if stream == "b" else last.flags)
            assert Flag.RESET in last.flags
            np.testing.assert_array_equal(last.y, PREDICTOR.run(XS[:1], f"{stream} anew")[0])
        assert run.daemon.pipeline.reset("never") == []


async def test_reset_is_answered_once_it_is_on_disk(tmp_path: Path) -> None:
    with opened(here(tmp_path)) as run:
        run.feed("a", payload(XS[0]))
        answer = run.daemon._commands._verbs["reset"](msgspec.convert({"stream": "a"}, type=command_type()))
        assert run.durable.told()["checkpoints"] == 0
        assert await answer == {"streams": 1}
        assert run.durable.told()["checkpoints"] == 1


def command_type() -> Any:
    from stream_rnn.daemon.commands import Command  # noqa: PLC0415 - its name is one of a test's too

    return Command


async def test_reload_carries_what_is_on_disk_where_it_means_the_same(tmp_path: Path) -> None:
    folder, other = here(tmp_path), Predictor(small_model(seed=2))
    with opened(folder) as run:
        run.feed("a", payload(XS[0]))
        assert await run.durable.checkpoint()
        run.durable.evict_idle(2**63 - 1)
        run.daemon.pipeline.adopt(run.daemon._config, other)
        await run.durable.adopt(other.hash, carried=True)
        run.feed("a", payload(XS[1]))
        last = run.predictions("a")[-1]
        assert (last.seq, last.flags, last.model) == (1, Flag.RESTORED | Flag.RELOADED, other.hash)
        assert run.durable._store.about.models == (other.hash, PREDICTOR.hash)


async def test_reload_of_another_architecture_begins_the_store_anew_and_says_so(tmp_path: Path) -> None:
    folder, other = here(tmp_path), Predictor(small_model(units=9))
    with opened(folder) as run:
        for stream in ("a", "b"):
            run.feed(stream, payload(XS[0]))
        assert await run.durable.checkpoint()
        run.durable.evict_idle(2**63 - 1)
        run.feed("b", payload(XS[0]))
        run.daemon.pipeline.adopt(run.daemon._config, other)
        await run.durable.adopt(other.hash, carried=False)
        assert run.durable._store.find("a") is None
        run.feed("a", payload(XS[1]))
        assert run.predictions("a")[-1].flags == Flag.RESET
        assert ("state_anew", "states of another architecture are forgotten, on disk too") in run.told
    refusal = f"expected states of model {PREDICTOR.hash}, got those of {other.hash}"
    with pytest.raises(StateError, match=refusal):
        Run(folder)


async def test_reload_does_not_move_the_state(tmp_path: Path) -> None:
    config = load_config(None, {}, flags_of(tmp_path, state={"every": 5}))
    daemon = Daemon(
        load_config(None, {}, flags_of(tmp_path)), PREDICTOR, lambda *_: None, lambda: (config, PREDICTOR)
    )
    with pytest.raises(CommandError, match=r"^state: expected the section as it was at the start; nothing"):
        await daemon.reload()


async def test_damaged_state_is_told_and_its_stream_begins_anew(tmp_path: Path) -> None:
    folder = here(tmp_path)
    with opened(folder) as run:
        run.feed("a", payload(XS[0]))
        assert await run.durable.checkpoint()
    with contextlib.closing(sqlite3.connect(folder / "s")) as database, database:
        database.execute("UPDATE states SET state = x'00'")
    with opened(folder) as run:
        run.feed("a", payload(XS[0]))
        assert run.told[0][0] == "state_unreadable"
        assert run.predictions("a")[0].flags == Flag.RESET
        assert run.durable.told()["unreadable"] == 1


async def test_many_repeats_in_a_row_do_not_restart_a_stream(tmp_path: Path) -> None:
    with opened(here(tmp_path), redelivers=True, stream={"restart_after": 5}) as run:
        run.feed("a", *(payload(x, i) for i, x in enumerate(XS[:50])))
        run.deliver(*(Message("a", payload(x, i), 0, 0, again=True) for i, x in enumerate(XS[:50])))
        run.feed("a", payload(XS[50], 50))
        assert run.daemon.pipeline.sessions.totals.duplicate == 50
        got = run.predictions("a")
    np.testing.assert_array_equal(np.array([p.y for p in got]), PREDICTOR.run(XS[:51], "c"))


async def test_repeat_without_seq_is_counted_and_told(tmp_path: Path) -> None:
    with opened(here(tmp_path), redelivers=True) as run:
        run.deliver(Message("a", payload(XS[0]), 0, 0, again=True), Message("a", payload(XS[1]), 0, 0))
        assert run.durable.told()["unnumbered"] == 1
        expected = "stream 'a': a sample without seq was sent again: stepped, perhaps for the second time"
        assert run.told == [("unnumbered", expected)]
        assert [p.seq for p in run.predictions("a")] == [0, 1]


async def test_count_of_samples_asks_for_a_checkpoint(tmp_path: Path) -> None:
    state = {"path": str(tmp_path / "s"), "interval_s": 3600.0, "every": 10}
    async with serving_in_memory(MODEL, state=state) as (daemon, transport):
        assert daemon.durable is not None
        transport.feed("a", *(payload(x) for x in XS[:10]))
        async with asyncio.timeout(10):
            while not daemon.durable.told()["checkpoints"]:  # noqa: ASYNC110 - nobody sets an event then
                await asyncio.sleep(0)


class World:
    """Streams whose samples a broker keeps until they are acknowledged, or nobody; daemons that crash."""

    def __init__(self, folder: Path, seed: int, *, redelivers: bool) -> None:
        self.chance, self.redelivers = random.Random(seed), redelivers  # noqa: S311 - instants, no secrets
        self.sent = dict.fromkeys("abc", 0)
        self.answers: dict[tuple[str, int], list[F32]] = {}
        self._folder, self._generation = folder, 0
        (folder / "0").mkdir()
        self._kept: deque[tuple[int, str, bytes]] = deque()  # at the broker
        self._number = 0
        self._begin(folder / "0")

    def _begin(self, folder: Path) -> None:
        state = {} if self.redelivers else {"journal": True, "interval_s": 0.01}
        self.run = Run(folder, redelivers=self.redelivers, state=state)
        self.run.durable.receipts.begin(self._acknowledged)

    def _acknowledged(self, numbers: list[int]) -> None:
        self._kept = deque(kept for kept in self._kept if kept[0] not in numbers)

    def feed(self) -> None:
        """Some samples, of streams in any order."""
        messages, numbers = [], []
        for _ in range(self.chance.randint(1, 12)):
            stream = self.chance.choice("abc")
            seq = self.sent[stream]
            raw = payload(XS[seq], seq if self.redelivers else None)
            self.sent[stream] += 1
            self._number += 1
            self._kept.append((self._number, stream, raw))
            messages.append(Message(stream, raw, 0, 0))
            numbers.append(self._number)
        self.run.deliver(*messages)
        self.run.durable.receipts.take(numbers)

    async def checkpoint(self) -> None:
        """A checkpoint; while one is under way samples may come."""
        task = asyncio.ensure_future(self.run.durable.checkpoint())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.chance.random() < 0.5:
            self.feed()
        assert await task

    def evict(self) -> None:
        self.run.durable.evict_idle(2**63 - 1)

    def crash(self) -> None:
        """Go on with what is on disk; the broker sends again what it kept."""
        self._note()
        self._generation += 1
        folder = self.run.crash(self._folder / str(self._generation))
        self.run.leave()
        self._begin(folder)
        if self.redelivers:
            self.run.deliver(*(Message(stream, raw, 0, 0, again=True) for _, stream, raw in self._kept))
            self.run.durable.receipts.take([number for number, *_ in self._kept])

    def _note(self) -> None:
        for stream in "abc":
            for p in self.run.predictions(stream):
                self.answers.setdefault((stream, p.seq), []).append(p.y)

    def check(self) -> None:
        """Every sample is answered, every time with the bits of an uninterrupted run."""
        self._note()
        self.run.leave()
        for stream, count in self.sent.items():
            expected = Predictor(MODEL).run(XS[:count], stream)
            for seq in range(count):
                answers = self.answers[stream, seq]
                assert all(np.array_equal(y, expected[seq]) for y in answers), (stream, seq)
        assert len(self.answers) == sum(self.sent.values())


@pytest.mark.parametrize("redelivers", [True, False], ids=["broker", "journal"])
@pytest.mark.parametrize("seed", range(6))
async def test_crashes_at_any_instant_lose_nothing_and_change_no_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    redelivers: bool,  # noqa: FBT001 - a case
) -> None:
    monkeypatch.setattr("stream_rnn.daemon.durable.A_TURN", 1)  # samples come between any two of its states
    world = World(tmp_path, seed, redelivers=redelivers)
    for _ in range(40):
        step = world.chance.choice(["feed", "feed", "feed", "checkpoint", "checkpoint", "evict", "crash"])
        done = getattr(world, step)()
        if done is not None:
            await done
    assert world._generation > 0
    world.check()


class Forgetful:
    """A broker that forgets, and a client that repeats; a daemon that crashes; what the client got."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - instants, no secrets
        self.sent, self.got = dict.fromkeys("abc", 0), dict[tuple[str, int], list[bytes]]()
        self.generation = 0
        self._folder, self._read = folder, 0
        self._queue = list[tuple[str, int]]()  # at the broker, not delivered
        self._kept = dict[int, tuple[str, int]]()  # delivered, not acknowledged
        self._numbers = 0
        (folder / "0").mkdir()
        self._begin(folder / "0")

    def _begin(self, folder: Path) -> None:
        mqtt = {"qos": 1, "clean_session": False, "client_id": "c"}
        rules = {"reorder": WINDOW, "restart_after": 0}
        state = {"answers": WINDOW, "answer_when": "durable"}
        self.run = Run(folder, redelivers=True, mqtt=mqtt, stream=rules, state=state)
        self.run.durable.receipts.begin(self._acknowledged)
        self._read = 0

    def _acknowledged(self, numbers: list[int]) -> None:
        for number in numbers:
            self._kept.pop(number, None)

    def send(self) -> None:
        """The client publishes some new samples, as far as it may."""
        for _ in range(self.chance.randint(1, 12)):
            stream = self.chance.choice("abc")
            oldest = next(seq for seq in range(WINDOW * 40) if (stream, seq) not in self.got)
            if self.sent[stream] - oldest < (WINDOW if oldest else 1):
                self._queue.append((stream, self.sent[stream]))
                self.sent[stream] += 1

    def repeat(self) -> None:
        """The client publishes again what is not answered."""
        for stream, count in self.sent.items():
            self._queue += [(stream, seq) for seq in range(count) if (stream, seq) not in self.got]

    def deliver(self, *, again: bool = False) -> None:
        """The broker delivers some of what it has."""
        count = self.chance.randint(1, 20)
        some, self._queue = self._queue[:count], self._queue[count:]
        numbers = range(self._numbers, self._numbers + len(some))
        self._numbers += len(some)
        self._kept.update(zip(numbers, some, strict=True))
        raw = [(stream, payload(XS[seq % len(XS)], seq)) for stream, seq in some]
        self.run.deliver(*(Message(stream, text, 0, 0, again=again) for stream, text in raw))
        self.run.durable.receipts.take(numbers)

    def listen(self) -> None:
        """The client gets some of what was published; the rest is lost with the broker, perhaps."""
        published = self.run.transport.published
        stop = self.chance.randint(self._read, len(published))
        for topic, answer in published[self._read : stop]:
            if topic.startswith(TOPIC):
                told = CODECS["json"].decode_prediction(answer)[0]
                self.got.setdefault((told.stream, told.seq), []).append(answer)
        self._read = stop

    def forget(self) -> None:
        """The broker is killed: what it had is gone, and the daemon connects anew."""
        self._queue.clear()
        self._kept.clear()
        self._read = len(self.run.transport.published)
        self.run.durable.receipts.begin(self._acknowledged)

    async def checkpoint(self) -> None:
        """A checkpoint; while one is under way samples may come."""
        task = asyncio.ensure_future(self.run.durable.checkpoint())
        for _ in range(self.chance.randint(0, 3)):
            await asyncio.sleep(0)
        self.deliver()
        assert await task

    def evict(self) -> None:
        """Idle sessions leave memory."""
        self.run.durable.evict_idle(2**63 - 1)

    def crash(self) -> None:
        """The daemon is killed; the broker sends again what it kept."""
        self.generation += 1
        folder = self.run.crash(self._folder / str(self.generation))
        self.run.leave()
        self._queue = [*self._kept.values(), *self._queue]
        self._kept.clear()
        self._begin(folder)

    async def settle(self) -> None:
        """Go on until the client has every answer."""
        for _ in range(100):
            if all((stream, seq) in self.got for stream, n in self.sent.items() for seq in range(n)):
                return
            self.repeat()
            while self._queue:
                self.deliver()
            assert await self.run.durable.checkpoint()
            self.listen()

    def check(self) -> None:
        """Every sample is answered, every time with the same bytes, and with an uninterrupted run's bits."""
        self.run.leave()
        for stream, count in self.sent.items():
            expected = Predictor(MODEL).run(XS[np.arange(count) % len(XS)], stream)
            for seq in range(count):
                answers = self.got[stream, seq]
                assert len(set(answers)) == 1, (stream, seq)
                y = CODECS["json"].decode_prediction(answers[0])[0].y
                assert y.tobytes() == expected[seq].tobytes(), (stream, seq)


WINDOW = 9
CALM = ["send", "send", "deliver", "deliver", "listen", "listen", "checkpoint", "checkpoint"]
STEPS = [*CALM, *CALM, *CALM, "repeat", "repeat", "evict", "crash", "forget"]


@pytest.mark.parametrize("seed", range(8))
async def test_crashes_of_a_broker_that_forgets_lose_nothing_where_the_client_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("stream_rnn.daemon.durable.A_TURN", 1)
    world = Forgetful(tmp_path, seed)
    for _ in range(250):
        done = getattr(world, world.chance.choice(STEPS))()
        if done is not None:
            await done
    assert world.generation > 0
    await world.settle()
    assert sum(world.sent.values()) > 30
    world.check()


async def test_journal_is_replayed_without_an_answer_and_then_contained(tmp_path: Path) -> None:
    folder = here(tmp_path)
    with opened(folder, state={"journal": True}) as run:
        run.feed("a", *(payload(x) for x in XS[:7]), b"{")
        (session,) = run.daemon.pipeline.sessions
        state = session.memory.to_bytes()
        after = run.crash(tmp_path / "1")
    segment = next(after.glob("s-journal-*"))
    segment.write_bytes(segment.read_bytes() + b"torn")
    with opened(after, state={"journal": True}) as run:
        assert run.told[-1] == (
            "replayed",
            "8 messages of the journal, torn at its end: the last write was not whole",
        )
        assert run.predictions("a") == []
        (session,) = run.daemon.pipeline.sessions
        assert session.memory.to_bytes() == state
        assert await run.durable.checkpoint()
        assert len(list(after.glob("s-journal-*"))) == 1
        await run.durable.close()
        assert list(after.glob("s-journal-*")) == []


async def test_replay_leaves_no_stream_of_a_connection_that_is_gone(tmp_path: Path) -> None:
    with opened(here(tmp_path), state={"journal": True}) as run:
        run._source = run._source._replace(passing=True)
        run.feed("tcp:1", payload(XS[0]), payload(XS[0], stream="named"))
        after = run.crash(tmp_path / "1")
    with opened(after, state={"journal": True}) as run:
        assert [session.stream for session in run.daemon.pipeline.sessions] == ["named"]


async def test_journal_that_the_disk_refuses_is_told_and_samples_are_stepped_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(here(tmp_path), state={"journal": True}) as run:
        with monkeypatch.context() as full:
            full.setattr(run.durable._written._journal, "append", refuse)
            run.feed("a", payload(XS[0]))
        assert (run.durable.failed, run.durable.told()["unjournaled"]) == ("the disk is full", 1)
        run.feed("a", payload(XS[1]))
        assert await run.durable.checkpoint()
        assert (run.durable.failed, [kind for kind, _ in run.told]) == (
            "",
            ["journal_failed", "journal_mended"],
        )
        assert len(run.predictions("a")) == 2


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"mqtt": {"qos": 1}}, "mqtt.clean_session: expected false with [state] and mqtt.qos 1"),
        (
            {"mqtt": {"qos": 1, "clean_session": False, "client_id": "c", "client": "aiomqtt"}},
            "mqtt.client: expected 'builtin' with [state] and mqtt.qos 1, got 'aiomqtt'",
        ),
        (
            {"mqtt": {"qos": 1, "clean_session": False, "client_id": "c", "wire": "f32"}},
            "mqtt.wire: expected one with seq with [state] and mqtt.qos 1",
        ),
        (
            {"state": {"journal": True}, "inbox": {"policy": "latest"}},
            "inbox.policy: expected 'block' with state.journal: it writes what is stepped; got 'latest'",
        ),
        (
            {"state": {"max_streams": 9}, "stream": {"max_streams": 10}},
            "state.max_streams: expected at least stream.max_streams, 10, got 9",
        ),
        (
            {"state": {"answers": 9}},
            "stream.restart_after: expected 0 with state.answers: who sends again what is not answered",
        ),
        (
            {"state": {"answer_when": "durable"}},
            "mqtt.qos: expected 1 with state.answer_when 'durable': no other way waits; got 0",
        ),
        (
            {
                "state": {"answer_when": "durable"},
                "mqtt": {"qos": 1, "clean_session": False, "client_id": "c", "publish_qos": 1},
            },
            "state.answers: expected at least 1 with state.answer_when 'durable': what a kill keeps",
        ),
    ],
)
def test_config_that_would_break_the_promise_is_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, {}, flags_of(tmp_path, **sections))
    assert message in str(refused.value)


async def test_spikes_and_their_row_that_is_not_full_come_back_from_store_and_journal(tmp_path: Path) -> None:
    def packet(i: int) -> bytes:
        units = [i % 5, (i * 3) % 5]
        times = [i * 7_000_000, i * 7_000_000 + 6_999_999]
        told = {"from_ns": i * 7_000_000, "to_ns": (i + 1) * 7_000_000, "units": units, "times_ns": times}
        return msgspec.json.encode(told)

    answers: list[tuple[int, list[float]]] = []
    for crashes in (False, True):
        folder = here(tmp_path / str(crashes))
        run = Run(folder, state={"journal": True})
        found: list[tuple[int, list[float]]] = []
        for i in range(60):
            run._source = run._source._replace(wire="spikes_json")
            run.feed("a", packet(i))
            if i % 20 == 9:
                assert await run.durable.checkpoint()
            if i % 20 == 13 and crashes:
                found += [(p.seq, p.y.tolist()) for p in run.predictions("a")]
                after = run.crash(tmp_path / f"after{i}")
                run.leave()
                run = Run(after, state={"journal": True})
        found += [(p.seq, p.y.tolist()) for p in run.predictions("a")]
        run.leave()
        answers = answers or found
        assert found == answers
    assert [seq for seq, _ in answers] == list(range(42))


async def test_truth_moves_the_interval_of_a_stream_that_was_put_away(tmp_path: Path) -> None:
    model = calibrated(MODEL)
    sections: dict[str, Any] = {
        "interval": {"coverage": 0.9, "truth": "t/{stream}"},
        "state": {"journal": True},
    }
    bounds: list[list[float]] = []
    for crashes in (False, True):
        folder = here(tmp_path / str(crashes))
        run = Run(folder, predictor=Predictor(model), **sections)
        run.feed("a", payload(XS[0]))
        assert await run.durable.checkpoint()
        run.durable.evict_idle(2**63 - 1)
        run.deliver(Message("a", b'{"seq": 0, "y": [100, -100]}', 0, 0, None, "t/a"))
        if crashes:
            after = run.crash(tmp_path / "after")
            run.leave()
            run = Run(after, predictor=Predictor(model), **sections)
        run.feed("a", payload(XS[1]))
        (_, text) = run.transport.published[-1]
        told = msgspec.json.decode(text)
        run.leave()
        bounds.append([*told["y_low"], *told["y_high"]])
    assert bounds[0] == bounds[1]
    assert bounds[0] != around_of(model)


def around_of(model: Model) -> list[float]:
    """The interval of the same prediction where no truth came."""
    sessions = Sessions(Predictor(model), Rules(), "run", 1, Interval(model.calibration(), 0.9, PACE, 256))
    (_, last) = [sessions.get("a", 0).feed(Sample("a", None, None, x), 0, lambda: 0)[0] for x in XS[:2]]
    assert last.bounds is not None
    return [float(value) for value in last.bounds.reshape(-1).tolist()]


def test_a_daemon_without_state_loads_nothing_of_it() -> None:
    rooms = {"sqlite3", "stream_rnn.daemon.durable", "stream_rnn.state.store"}
    asked = f"import sys, stream_rnn.cli.run; print(*{rooms} & {{*sys.modules}})"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout == "\n"
