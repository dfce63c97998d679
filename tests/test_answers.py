"""A sample that comes again is answered again with the same bytes, from memory or from disk."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_rnn.errors import StateError
from stream_rnn.predictor import Predictor
from stream_rnn.sample import Flag
from stream_rnn.transports.base import Message
from stream_rnn.wire import CODECS
from tests.opened import TOPIC, XS, Run, here, opened, payload
from tests.small import small_model

ANSWERS: dict[str, Any] = {"stream": {"restart_after": 0, "reorder": 20}, "state": {"answers": 10}}
MQTT = {"qos": 1, "clean_session": False, "client_id": "c", "publish_qos": 1}


def numbered(*seqs: int, **more: object) -> list[bytes]:
    return [payload(XS[seq], seq, **more) for seq in seqs]


def said(run: Run, stream: str = "a") -> list[bytes]:
    return [answer for topic, answer in run.transport.published if topic == TOPIC + stream]


def seqs_said(run: Run) -> list[int]:
    return [prediction.seq for prediction in run.predictions("a")]


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
async def test_repeat_is_answered_with_the_same_bytes_and_not_stepped(tmp_path: Path, together: bool) -> None:  # noqa: FBT001 - a case
    with opened(here(tmp_path), **ANSWERS) as run:
        run.feed("a", *numbered(*range(12)))
        first = said(run)
        if together:
            run.feed("a", *numbered(*range(2, 12)))
        else:
            for seq in range(2, 12):
                run.feed("a", *numbered(seq))
        assert said(run)[12:] == first[2:]
        totals = run.daemon.pipeline.sessions.totals
        assert (totals.stepped, totals.duplicate, run.durable.told()["answered_again"]) == (12, 10, 10)
        run.feed("a", *numbered(1))  # older than the ten that are kept
        assert len(said(run)) == 22
        assert (totals.duplicate, run.durable.told()["answered_again"]) == (11, 10)


async def test_repeat_is_not_answered_where_no_answers_are_kept(tmp_path: Path) -> None:
    with opened(here(tmp_path)) as run:
        run.feed("a", *numbered(0, 0))
        assert seqs_said(run) == [0]


async def test_answers_are_on_disk_with_the_state_that_they_came_from(tmp_path: Path) -> None:
    folder = here(tmp_path)
    with opened(folder, **ANSWERS) as run:
        run.feed("a", *numbered(*range(8)))
        first = said(run)
        assert await run.durable.checkpoint()
        run.feed("a", *numbered(*range(8, 15)))
        first += said(run)[8:]
        assert await run.durable.checkpoint()
        run.feed("a", *numbered(15, 16))  # in no checkpoint: stepped again
        after = run.crash(tmp_path / "1")
    with opened(after, **ANSWERS) as run:
        run.feed("a", *numbered(*range(17)))
        assert said(run)[:10] == first[5:]  # the last ten
        assert seqs_said(run) == [*range(5, 15), 15, 16]
        assert run.predictions("a")[10].flags == Flag.RESTORED


async def test_answers_to_samples_taken_in_while_states_are_put_away_go_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_rnn.daemon.durable.A_TURN", 1)
    folder = here(tmp_path)
    with opened(folder, **ANSWERS) as run:
        run.feed("a", *numbered(0))
        run.feed("b", *numbered(0))
        under_way = asyncio.ensure_future(run.durable.checkpoint())
        for seq in range(1, 6):
            await asyncio.sleep(0)
            run.feed("a", *numbered(seq))
            run.feed("b", *numbered(seq))
        assert await under_way
        answers = {stream: said(run, stream) for stream in "ab"}
        after = run.crash(tmp_path / "1")
    with opened(after, **ANSWERS) as run:
        for stream in "ab":
            run.feed(stream, *numbered(*range(6)))
            sessions = run.daemon.pipeline.sessions
            contained = 6 - sessions.totals.stepped
            assert said(run, stream)[:contained] == answers[stream][:contained]
            assert [p.seq for p in run.predictions(stream)] == list(range(6))
            sessions.totals.stepped = 0


async def test_what_the_disk_refused_is_answered_again_and_kept_by_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StateError("the disk is full")

    folder = here(tmp_path)
    with opened(folder, **ANSWERS) as run:
        run.feed("a", *numbered(*range(6)))
        with monkeypatch.context() as full:
            full.setattr(run.durable._store, "commit", refuse)
            assert not await run.durable.checkpoint()
        run.feed("a", *numbered(*range(6, 12)))
        first = said(run)
        run.feed("a", *numbered(*range(2, 12)))
        assert said(run)[12:] == first[2:]
        assert await run.durable.checkpoint()
    with opened(folder, **ANSWERS) as run:
        run.feed("a", *numbered(*range(12)))
        assert said(run) == first[2:]


async def test_answer_that_cannot_be_read_is_told_and_its_sample_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StateError("the disk is gone")

    with opened(here(tmp_path), **ANSWERS) as run:
        run.feed("a", *numbered(0))
        assert await run.durable.checkpoint()
        monkeypatch.setattr(run.durable._store, "answer", refuse)
        run.feed("a", *numbered(0))
        assert run.told == [("answer_unreadable", "stream 'a' is not answered again: the disk is gone")]
        assert (seqs_said(run), run.durable.told()["unreadable"]) == ([0], 1)


async def test_answer_goes_back_the_way_the_sample_came_in_its_encoding(tmp_path: Path) -> None:
    with opened(here(tmp_path), **ANSWERS) as run:
        run.feed("a", *numbered(0))
        sample = CODECS["json"].decode_samples(numbered(0)[0], "a")[0]
        run._source = run._source._replace(wire="msgpack", publisher=None)
        back: list[bytes] = []
        run.deliver(Message("a", CODECS["msgpack"].encode_sample(sample), 0, 0, back.append))
        (told,), (first,) = back, said(run)
    assert msgspec.json.encode(msgspec.msgpack.decode(told)) == first


async def test_withheld_and_late_samples_have_no_answer(tmp_path: Path) -> None:
    rules = {"restart_after": 0, "deadline_ms": 1000.0, "stale": "withhold"}
    with opened(here(tmp_path), stream=rules, state={"answers": 10}) as run:
        run.feed("a", *numbered(0, t_ns=1), *numbered(0, t_ns=1))  # fifty years late
        run.feed("a", *numbered(4), *numbered(2))  # of a gap that was given up
        assert seqs_said(run) == [4]
        totals = run.daemon.pipeline.sessions.totals
        assert (totals.withheld, totals.duplicate, totals.late) == (1, 1, 1)


async def test_sample_that_waits_in_the_window_is_answered_once_it_is_stepped_and_from_then_on(
    tmp_path: Path,
) -> None:
    folder = here(tmp_path)
    with opened(folder, **ANSWERS) as run:
        run.feed("a", *numbered(0, 2, 3, 2))  # 1 was lost
        assert seqs_said(run) == [0]
        assert await run.durable.checkpoint()
        after = run.crash(tmp_path / "1")
    with opened(after, **ANSWERS) as run:
        run.feed("a", *numbered(2, 1, 2, 3))
        assert seqs_said(run) == [1, 2, 3, 2, 3]
        assert len(set(said(run))) == 3


@pytest.mark.parametrize("on_disk", [False, True])
async def test_producer_that_started_again_gets_no_answer_of_the_time_before(
    tmp_path: Path,
    on_disk: bool,  # noqa: FBT001 - a case
) -> None:
    with opened(here(tmp_path), **ANSWERS) as run:
        run.feed("a", *numbered(0, 1, 2, t_ns=1))
        if on_disk:
            assert await run.durable.checkpoint()
        shared = run.daemon.pipeline.sessions._shared  # from now on nothing has an answer of its own
        shared.rules = msgspec.structs.replace(shared.rules, deadline_ms=1.0, stale="withhold")
        run.feed("a", *numbered(0, t_ns=2), *numbered(1, t_ns=3), *numbered(1, t_ns=3))
        assert len(said(run)) == 3
        if on_disk:
            assert await run.durable.checkpoint()
        run.feed("a", *numbered(2, t_ns=4), *numbered(0, 1, 2, t_ns=4))
        assert len(said(run)) == 3
        assert run.durable.told()["answered_again"] == 0


async def test_producer_that_starts_again_within_one_read_leaves_no_answer_of_the_time_before(
    tmp_path: Path,
) -> None:
    with opened(here(tmp_path), **ANSWERS) as run:
        some = [*numbered(*range(5), t_ns=1), *numbered(0, t_ns=2), *numbered(1, t_ns=3)]
        run.feed("a", *some, *some[-2:])
        assert seqs_said(run) == [*range(5), 0, 1, 0, 1]
        assert said(run)[-2:] == said(run)[-4:-2]
        assert run.daemon.pipeline.answering.kept is not None
        assert run.daemon.pipeline.answering.kept.again("a", 4) is None


async def test_streams_that_are_forgotten_restored_or_beyond_the_most_lose_their_answers(
    tmp_path: Path,
) -> None:
    sections = {"stream": {"restart_after": 0, "max_streams": 2}, "state": {"answers": 10, "max_streams": 2}}
    with opened(here(tmp_path), **sections) as run:
        for stream in ("a", "b"):
            run.feed(stream, *numbered(0))
            assert await run.durable.checkpoint()
        state = run.daemon.pipeline.sessions.get("b", 0).to_bytes()
        run.durable.forget("a")
        run.daemon.pipeline.restore(state)
        kept = run.daemon.pipeline.answering.kept
        assert kept is not None
        assert (kept.again("a", 0), kept.again("b", 0)) == (None, None)
        assert await run.durable.checkpoint()
        assert (kept.again("a", 0), kept.again("b", 0)) == (None, None)
        run.feed("b", *numbered(1))
        for stream in ("c", "d"):
            assert await run.durable.checkpoint()
            run.durable.evict_idle(2**63 - 1)
            run.feed(stream, *numbered(0))
        assert await run.durable.checkpoint()
        assert run.durable.told()["forgotten"] == 1
        assert (kept.again("b", 1), kept.again("c", 0) is None) == (None, False)


async def test_answers_of_another_architecture_are_forgotten_and_others_are_carried(tmp_path: Path) -> None:
    with opened(here(tmp_path), **ANSWERS) as run:
        for seed, units in ((2, 7), (2, 9)):
            run.feed("a", *numbered(0))
            assert await run.durable.checkpoint()
            other = Predictor(small_model(seed=seed, units=units))
            run.daemon.pipeline.adopt(run.daemon._config, other)
            await run.durable.adopt(other.hash, carried=units == 7)
            before = run.durable.told()["answered_again"]
            run.feed("a", *numbered(0))
            assert run.durable.told()["answered_again"] - before == (units == 7)


async def test_replayed_journal_keeps_the_answers_that_nobody_gets(tmp_path: Path) -> None:
    sections = ANSWERS | {"state": {"answers": 10, "journal": True}}
    with opened(here(tmp_path), **sections) as run:
        run.feed("a", *numbered(0, 1, 2))
        after = run.crash(tmp_path / "1")
    with opened(after, **sections) as run:
        assert said(run) == []
        run.feed("a", *numbered(1, 2, 3))
        assert seqs_said(run) == [1, 2, 3]


async def test_answer_that_waits_to_be_durable_is_published_before_its_sample_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StateError("the disk is full")

    sections = ANSWERS | {"mqtt": MQTT, "state": {"answers": 10, "answer_when": "durable"}}
    with opened(here(tmp_path), redelivers=True, **sections) as run:
        answered: list[int] = []
        run.durable.receipts.begin(lambda numbers: answered.append(len(said(run)) * 100 + len(numbers)))
        run.feed("a", *numbered(0, 1, 1))
        run.durable.receipts.take([1, 2, 3])
        with monkeypatch.context() as full:
            full.setattr(run.durable._store, "commit", refuse)
            assert not await run.durable.checkpoint()
        assert (said(run), answered) == ([], [])
        assert await run.durable.checkpoint()
        assert (seqs_said(run), answered) == ([0, 1, 1], [303])
        assert said(run)[1] == said(run)[2]
