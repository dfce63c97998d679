"""Replay: which samples, in which order, when."""

import asyncio
import itertools
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.recordings.replay import Playback, chosen, play, rounds
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.source import samples_of
from stream_rnn.recordings.table import write_table
from stream_rnn.recordings.text import Timed
from stream_rnn.sample import Sample

X = np.ones(2, dtype=np.float32)
TIMED = [Timed(Sample(stream, i, 1000 + i, X), i / 10) for i in range(20) for stream in ("a", "b")]


def numbers(samples: list[Timed]) -> list[tuple[str, int | None, object]]:
    return [(s.stream, s.seq, pytest.approx(offset)) for s, offset in samples]


def test_part_is_chosen_by_offset_duration_and_stream_and_renamed() -> None:
    playback = Playback(start_offset_s=0.5, duration_s=0.3, topics=("a",), remap={"a": "z"})
    assert numbers(list(chosen(TIMED, playback))) == [("z", 5, 0.0), ("z", 6, 0.1), ("z", 7, 0.2)]


def test_loop_goes_on_with_numbers_and_times() -> None:
    looped = rounds(lambda: iter(TIMED[::2][:3]), Playback(loop=True))
    assert numbers(list(itertools.islice(looped, 7)))[2:] == [
        ("a", 2, 0.2), ("a", 3, 0.2), ("a", 4, 0.3), ("a", 5, 0.4), ("a", 6, 0.4)
    ]  # fmt: skip


def test_once_is_once() -> None:
    assert len(list(rounds(lambda: iter(TIMED), Playback()))) == 40


async def test_samples_leave_when_they_are_due() -> None:
    left: list[tuple[int, Sample]] = []

    def send(sample: Sample) -> bool:
        left.append((time.monotonic_ns(), sample))
        return True

    samples = (Timed(Sample("a", i, None, X), i / 100) for i in range(40))
    played = await play(samples, Playback(rate=4.0), send, asyncio.Event())
    offsets = np.array([t - left[0][0] for t, _ in left]) / 1e9
    assert played.sent == 40
    assert np.median(np.abs(offsets - np.arange(40) / 400)) < 0.001
    assert played.late_p50_ms < 1.0
    steps = np.diff([sample.t_ns for _, sample in left if sample.t_ns is not None])
    assert set(steps.tolist()) <= {2_500_000, 2_499_999, 2_500_001}


async def test_as_soon_as_possible_keeps_order_and_own_times_if_told() -> None:
    left: list[Sample] = []

    def send(sample: Sample) -> bool:
        left.append(sample)
        return sample.seq != 3

    played = await play(iter(TIMED), Playback(asap=True, retime="keep"), send, asyncio.Event())
    assert [(s.stream, s.seq, s.t_ns) for s in left] == [(s.stream, s.seq, s.t_ns) for s, _ in TIMED]
    assert (played.sent, played.refused) == (40, 2)


async def test_end_is_heard() -> None:
    ended = asyncio.Event()

    def send(sample: Sample) -> bool:
        if sample.seq == 5:
            ended.set()
        return True

    assert (await play(iter(TIMED[::2]), Playback(rate=1000), send, ended)).sent == 6


def test_table_is_played_recording_by_recording_each_from_zero(tmp_path: Path) -> None:
    table = simulate(1, 3, seed=1)
    number = (np.arange(100) >= 60).astype(np.int32)
    write_table(
        msgspec.structs.replace(table, recording=number, recording_names=("p", "q")), tmp_path / "t.npz"
    )
    samples = list(samples_of(tmp_path / "t.npz"))
    assert numbers([samples[0], samples[59], samples[60]]) == [("p", 0, 0.0), ("p", 59, 0.59), ("q", 0, 0.6)]
    np.testing.assert_array_equal(np.array([s.x for s, _ in samples]), table.x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "mqtt://127.0.0.1:1", "--rate", "0"], "stream-rnn: replay: rate: expected `float` > 0.0"),
        (["--to", "mqtt://127.0.0.1:1", "--remap", "ab"], "stream-rnn: --remap: expected OLD:=NEW, got 'ab'"),
        (["--to", "mqtt://127.0.0.1:1"], "stream-rnn: mqtt 127.0.0.1:1: Connection refused"),
        (["--to", "tcp://127.0.0.1:1"], "stream-rnn: tcp://127.0.0.1:1: "),
        (
            ["--to", "http://x"],
            "stream-rnn: --to: expected mqtt://, mqtts://, tcp://, unix://, udp://, unixgram://, or direct",
        ),
    ],
)
def test_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write_table(simulate(1, 3, seed=1), tmp_path / "t.npz")
    assert main(["replay", str(tmp_path / "t.npz"), *arguments]) in {1, 2}
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
