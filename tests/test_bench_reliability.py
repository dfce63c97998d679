"""What soak and overload send and say. Nothing is timed."""

import msgspec
import pytest

from bench import reliability
from bench.flood import TOGETHER, Kind, Packets
from bench.overload import Case, Found, findings
from bench.report import Goal
from bench.soak import Noted, leg
from stream_rnn.transports.cut import CUTTERS
from stream_rnn.wire import CODECS


@pytest.mark.parametrize("streams", [3, 200])
def test_every_stream_gets_its_next_number(streams: int) -> None:
    packets, got = Packets("tcp", streams), list[tuple[str, int | None]]()
    cutter, decode = CUTTERS["frames"](1 << 20), CODECS["frame"].decode_samples
    while len(got) < 1000:
        some, count = packets.take(1000 - len(got))
        assert 0 < count <= TOGETHER
        samples = [decode(payload, "")[0] for payload in cutter.feed(some)]
        assert len(samples) == count
        assert all(sample.t_ns is not None and sample.t_ns > 0 for sample in samples)
        got += [(sample.stream, sample.seq) for sample in samples]
    assert got == [(f"device-{i % streams:04d}", i // streams) for i in range(1000)]


@pytest.mark.parametrize("kind", ["udp", "mqtt"])
def test_numbers_stand_in_the_frame_whatever_is_around_it(kind: Kind) -> None:
    packets = Packets(kind, 2)
    packets.take(2)
    some, count = packets.take(2)
    size = len(some) // count
    frames = [some[i * size : (i + 1) * size] for i in range(count)]
    samples = [CODECS["frame"].decode_samples(frame[frame.index(b"sr\x01") :], "")[0] for frame in frames]
    assert [sample.seq for sample in samples] == [1, 1]


def test_memory_that_grows_evenly_has_its_slope_told() -> None:
    notes = [Noted(i * 100_000, 150 + 0.3 * i, 16, i * 100_000, i * 100_000 * 50.0) for i in range(11)]
    found = leg(notes, notes[5:], 0, 10.0)
    assert (found.samples, found.per_s) == (1_000_000, 100_000)
    assert found.slope_mb == pytest.approx(3.0)
    assert found.grown_mb == pytest.approx(2.4)
    assert (found.drift, found.way_us, found.descriptors) == (0.0, 50.0, 0)


def test_way_that_gets_longer_is_a_drift() -> None:
    ways, notes = 0.0, list[Noted]()
    for i in range(17):
        notes.append(Noted(i * 1000, 150, 16 + i, i * 1000, ways))
        ways += 1000 * (100.0 if i < 10 else 150.0)
    found = leg(notes, notes, 0, 1.0)
    assert found.drift == pytest.approx(0.5)
    assert found.descriptors == 12  # since the end of the warm-up


def test_sample_that_nobody_counted_meets_no_goal() -> None:
    good = Found(1000, 10_000, 100, 40, 50, 10, 0, 900, 1, 2, 100, 5, 0.1)
    bad = Found(1000, 10_000, 100, 39, 50, 10, 1, 900, 1, 2, 9000, 5, 1.5)
    case = Case("tcp", "drop_oldest")
    assert all(goal.met for goal in findings({case: good}, 60).goals)
    missed = [goal.text for goal in findings({case: bad}, 60).goals if not goal.met]
    assert missed == [
        "TCP, drop_oldest: samples that nobody counted",
        "TCP, drop_oldest: recovery, s",
        "TCP, drop_oldest: longest in the daemon, ms (twice what an inbox of 1024 takes to serve, and 100)",
    ]


def test_the_page_says_what_its_results_say() -> None:
    reports = reliability.found(reliability.FOLDER)
    assert set(reports) == set(reliability.SECTIONS)
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.render(reports)


def test_goals_that_are_not_met_stand_at_the_top_of_the_page() -> None:
    reports = reliability.found(reliability.FOLDER)
    missed = Goal("samples without a prediction", 3, 0)
    findings = msgspec.structs.replace(reports["chaos"].findings, goals=(missed,))
    page = reliability.render({"chaos": msgspec.structs.replace(reports["chaos"], findings=findings)})
    top, _, _ = page.partition("\n## ")
    assert "0 goals of 1 are met." in top
    assert "| samples without a prediction | 3.00 | 0 | **not met** |" in top
