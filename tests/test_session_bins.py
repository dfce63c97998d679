"""Spikes to rows: every edge in its place, every spike in its row, however it is cut into packets."""

import itertools
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stream_rnn
from stream_rnn.errors import ModelError, SampleError
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Flag, Prediction, Sample, Spikes
from stream_rnn.session.bins import MAX_ROWS, Bins, Grid
from stream_rnn.session.rules import Packets, Rules
from stream_rnn.session.seam import advance_spikes
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.wire import CODECS, SPIKES
from tests.small import small_model

MS = 1_000_000
D = 5
EPOCH_NS = 1_795_458_454_447_817_244
PREDICTOR = Predictor(small_model())
RATES = st.sampled_from([1.0, 30.0, 50.0, 100.0, 1000.0 / 3, 1024.0, 24414.0625]) | st.floats(0.01, 5e4)


class Train(NamedTuple):
    """Spikes from one instant to another."""

    start_ns: int
    stop_ns: int
    units: list[int]
    times_ns: list[int]

    def packet(self, from_ns: int, to_ns: int) -> Spikes:
        """What happened between two instants."""
        inside = [i for i, t_ns in enumerate(self.times_ns) if from_ns <= t_ns < to_ns]
        return Spikes(
            "a", from_ns, to_ns, [self.units[i] for i in inside], [self.times_ns[i] for i in inside]
        )

    def packets(self, cuts: list[int]) -> list[Spikes]:
        """All of it, cut at these instants."""
        edges = [self.start_ns, *cuts, self.stop_ns]
        return [self.packet(a, b) for a, b in itertools.pairwise(edges)]


@st.composite
def trains(draw: st.DrawFn, rates: st.SearchStrategy[float] = RATES) -> tuple[float, Train, list[int]]:
    """A rate, spikes over some rows of it, many of them at the edges, and where to cut them."""
    rate_hz, start_ns = draw(rates), draw(st.sampled_from([0, 1, 7_777_777, EPOCH_NS]))
    grid = Grid(start_ns, rate_hz)
    instants = st.integers(start_ns, grid.edge(12)) | st.builds(
        lambda row, by: max(start_ns, grid.edge(row) + by), st.integers(0, 12), st.integers(-1, 1)
    )
    stop_ns = 1 + draw(instants)
    before = instants.map(lambda t_ns: min(t_ns, stop_ns - 1))
    times_ns = draw(st.lists(before, max_size=30))
    units = draw(st.lists(st.integers(0, D - 1), min_size=len(times_ns), max_size=len(times_ns)))
    cuts = draw(st.lists(before, max_size=12, unique=True).map(sorted))
    return rate_hz, Train(start_ns, stop_ns, units, times_ns), [cut for cut in cuts if cut > start_ns]


def offline(rate_hz: float, train: Train, rows: int) -> F32:
    """The same rows from seconds, which float64 tells apart since they begin at 0."""
    times_s = [(t_ns - train.start_ns) / 1e9 for t_ns in train.times_ns]
    units = np.array(train.units, dtype=np.int64)
    return stream_rnn.bin_spikes(times_s, units, rate_hz, channels=D, rows=rows)


def rows_of(samples: list[Sample]) -> F32:
    return np.array([sample.x for sample in samples], dtype=np.float32).reshape(-1, D)


@given(rate_hz=RATES, start_ns=st.sampled_from([0, 3, EPOCH_NS]), row=st.integers(0, 10**9))
def test_edge_is_the_exact_instant_rounded_half_up(rate_hz: float, start_ns: int, row: int) -> None:
    exact = start_ns + row * 10**9 / Fraction(rate_hz)
    assert Grid(start_ns, rate_hz).edge(row) == (exact + Fraction(1, 2)).__floor__()


@given(rate_hz=RATES, start_ns=st.sampled_from([0, 3, EPOCH_NS]), row=st.integers(0, 10**9))
def test_row_begins_at_its_edge_and_no_sooner(rate_hz: float, start_ns: int, row: int) -> None:
    grid = Grid(start_ns, rate_hz)
    edge_ns = grid.edge(row)
    assert (grid.row(edge_ns), grid.row(edge_ns - 1)) == (row, row - 1)


@pytest.mark.parametrize(("rate_hz", "day"), [(30.0, 2_592_000), (24414.0625, 2_109_375_000)])
def test_edges_do_not_drift_in_a_day(rate_hz: float, day: int) -> None:
    assert Grid(EPOCH_NS, rate_hz).edge(day) == EPOCH_NS + 86_400 * 10**9


@given(trains())
@settings(max_examples=300, deadline=None)
def test_rows_are_those_of_bin_spikes_however_they_are_cut(made: tuple[float, Train, list[int]]) -> None:
    rate_hz, train, cuts = made
    bins, packets, grid = Bins(train.start_ns, rate_hz, D, 0), Packets(), Grid(train.start_ns, rate_hz)
    samples = [s for packet in train.packets(cuts) for s in bins.take(packet, packets)]
    rows = grid.row(train.stop_ns)
    assert [(s.seq, s.t_ns) for s in samples] == [(k, grid.edge(k + 1)) for k in range(rows)]
    np.testing.assert_array_equal(rows_of(samples), offline(rate_hz, train, rows))
    assert (packets.taken, packets.spikes) == (len(cuts) + 1, len(train.units))
    assert (packets.repeated, packets.lost) == (0, 0)


@given(trains(), st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_told_again_changes_nothing(
    made: tuple[float, Train, list[int]], data: st.DataObject
) -> None:
    rate_hz, train, cuts = made
    once, again = (Bins(train.start_ns, rate_hz, D, 0) for _ in range(2))
    for packet in train.packets(cuts):
        expected = once.take(packet, Packets())
        sooner = data.draw(st.integers(train.start_ns, packet.from_ns))
        packets = Packets()
        samples = again.take(train.packet(sooner, packet.to_ns), packets)
        assert again.take(packet, packets) == []
        assert [(s.seq, s.t_ns) for s in samples] == [(s.seq, s.t_ns) for s in expected]
        np.testing.assert_array_equal(rows_of(samples), rows_of(expected))
        assert (packets.taken, packets.duplicate, packets.overlapping) == (1, 1, sooner < packet.from_ns)
        assert packets.repeated == len(train.packet(sooner, packet.from_ns).units) + len(packet.units)
    assert once.to_bytes() == again.to_bytes()


@given(trains(), st.data())
@settings(max_examples=300, deadline=None)
def test_rows_that_are_not_wholly_covered_are_missing(
    made: tuple[float, Train, list[int]], data: st.DataObject
) -> None:
    rate_hz, train, cuts = made
    every = train.packets(cuts)
    told = [every[0], *(packet for packet in every[1:] if data.draw(st.booleans()))]
    bins, packets, grid = Bins(train.start_ns, rate_hz, D, 0), Packets(), Grid(train.start_ns, rate_hz)
    samples = [s for packet in told for s in bins.take(packet, packets)]
    silent = [(p.from_ns, p.to_ns) for p in every if p not in told]
    whole = [
        row
        for row in range(grid.row(told[-1].to_ns))
        if not any(start < grid.edge(row + 1) and stop > grid.edge(row) for start, stop in silent)
    ]
    assert [s.seq for s in samples] == whole
    np.testing.assert_array_equal(rows_of(samples), offline(rate_hz, train, 13)[whole])
    last = bins.take(Spikes("a", told[-1].to_ns, grid.edge(14), [], []), packets)
    assert packets.spikes == rows_of([*samples, *last]).sum() + packets.lost
    assert packets.repeated == 0


def test_row_is_complete_as_soon_as_its_end_is_told() -> None:
    bins, packets = Bins(0, 100.0, D, 0), Packets()
    assert bins.take(Spikes("a", 0, 10 * MS - 1, [1], [9 * MS]), packets) == []
    (sample,) = bins.take(Spikes("a", 10 * MS - 1, 10 * MS, [1, 3], [10 * MS - 1] * 2), packets)
    assert (sample.seq, sample.t_ns, sample.x.tolist()) == (0, 10 * MS, [0, 2, 0, 1, 0])


def test_packet_of_a_gap_is_late_and_one_told_before_is_a_duplicate() -> None:
    bins, packets = Bins(0, 100.0, D, 0), Packets()
    for from_ns, to_ns in ((0, 10), (20, 30), (12, 18), (2, 8)):
        bins.take(Spikes("a", from_ns * MS, to_ns * MS, [0], [from_ns * MS]), packets)
    assert (packets.taken, packets.late, packets.duplicate, packets.gaps) == (2, 1, 1, 1)
    assert (packets.spikes, packets.repeated, packets.lost) == (4, 2, 0)


def clock() -> int:
    return 77


def session(**rules: object) -> Session:
    return Session("a", Shared(PREDICTOR, Rules(**rules), "run"))  # type: ignore[arg-type]  # each test's own


def spikes(from_ms: float, to_ms: float, *units: int) -> Spikes:
    """Spikes at the beginning of a packet."""
    from_ns = round(from_ms * MS)
    return Spikes("a", from_ns, round(to_ms * MS), list(units), [from_ns] * len(units))


def fed(to: Session, *packets: Spikes) -> list[Prediction]:
    return [p for packet in packets for s in to.bin(packet).samples for p in to.feed(s, 5, clock)]


def steps(*xs: list[int]) -> F32:
    PREDICTOR.reset("offline")
    return PREDICTOR.run(np.array(xs, dtype=np.float32), "offline")


def test_gap_in_time_is_a_gap_of_the_stream() -> None:
    stream = session(gap="zero")
    first, after = fed(stream, spikes(0, 10, 1), spikes(33, 50, 2))
    assert (first.seq, first.flags, first.t_source_ns) == (0, Flag.RESET, 10 * MS)
    assert (after.seq, after.flags, after.missed, after.t_source_ns) == (4, Flag.GAP, 3, 50 * MS)
    silence = [0] * 5
    np.testing.assert_array_equal(after.y, steps([0, 1, 0, 0, 0], *[silence] * 4)[-1])


def test_hour_of_silence_is_no_gap_when_it_is_told_and_one_gap_when_it_is_not() -> None:
    stream, hour_ms = session(), 3_600_000
    (_, after) = fed(stream, spikes(0, 10), spikes(hour_ms, hour_ms + 10))
    assert (after.missed, after.flags) == (359_999, Flag.GAP | Flag.RESET)
    told = session()
    expected = r"^stream 'a': expected packets of at most 1000 rows at 100 Hz, got 3600000000000 ns$"
    with pytest.raises(SampleError, match=expected) as caught:
        told.bin(spikes(0, hour_ms))
    assert caught.value.reason == "interval"
    assert len(fed(told, *(spikes(t, t + 10_000) for t in range(0, hour_ms // 60, 10_000)))) == 6 * MAX_ROWS


@pytest.mark.parametrize("packet", [spikes(10, 20, 3, 5), spikes(10, 10_011)], ids=["unit", "rows"])
def test_packet_that_cannot_be_taken_changes_nothing(packet: Spikes) -> None:
    stream = session()
    fed(stream, spikes(0, 15, 1))
    before = stream.to_bytes()
    with pytest.raises(SampleError):
        stream.bin(packet)
    assert stream.to_bytes() == before


def test_unit_that_the_model_does_not_have_is_named() -> None:
    with pytest.raises(SampleError, match=r"^stream 'a': expected units from 0 to 4, got 5 at 1$") as caught:
        session().bin(spikes(0, 1, 3, 5))
    assert caught.value.reason == "unit"


def test_reset_starts_the_state_anew_and_keeps_the_row_that_is_not_full() -> None:
    stream = session()
    fed(stream, spikes(0, 15, 1), spikes(15, 17, 2))
    stream.reset()
    (after,) = fed(stream, spikes(17, 20, 3))
    assert (after.seq, after.flags, after.missed) == (1, Flag.RESET, 0)
    np.testing.assert_array_equal(after.y, steps([0, 0, 1, 1, 0])[0])


def test_producer_whose_clock_started_again_is_followed_after_a_run_of_late_packets() -> None:
    stream = session(restart_after=3)
    fed(stream, spikes(5000, 5015))
    assert fed(stream, *(spikes(t, t + 5) for t in (0, 5, 10))) == []
    (again,) = fed(stream, spikes(15, 20, 2), spikes(20, 25))
    assert (again.seq, again.flags, again.t_source_ns) == (1, Flag.RESET, 25 * MS)
    np.testing.assert_array_equal(again.y, steps([0, 0, 1, 0, 0])[0])


def test_packet_that_is_repeated_for_ever_starts_nothing_anew() -> None:
    stream = session(restart_after=3)
    fed(stream, spikes(0, 15))
    assert fed(stream, *[spikes(5, 10)] * 10) == []
    assert stream.counters.resets == 0


def test_rows_of_a_stream_that_sent_samples_before_go_on_from_their_numbers() -> None:
    stream = session()
    stream.feed(Sample("a", 41, None, np.zeros(5, dtype=np.float32)), 0, clock)
    (first,) = fed(stream, spikes(0, 10, 1))
    assert (first.seq, first.flags) == (42, Flag.RESET)


lengths = st.lists(
    st.tuples(st.integers(-30, 60), st.integers(1, 35), st.lists(st.integers(0, 4), max_size=3)), max_size=25
)


def wandering(moves: list[tuple[int, int, list[int]]]) -> list[Spikes]:
    """Packets that follow, overlap, repeat each other and leave gaps."""
    packets, at_ms = [], 0
    for by, length, units in moves:
        from_ms = max(0, at_ms + (by if abs(by) > 15 else 0))
        packets.append(spikes(from_ms, from_ms + length, *units))
        at_ms = from_ms + length
    return packets


def told(predictions: list[Prediction]) -> list[tuple[object, ...]]:
    return [(p.seq, p.y.tobytes(), p.flags, p.missed, p.t_source_ns) for p in predictions]


@given(
    packets=lengths.map(wandering),
    cut=st.integers(0, 25),
    restart_after=st.integers(0, 3),
    reorder=st.integers(0, 2),
)
@settings(max_examples=150, deadline=None)
def test_putting_a_session_away_at_any_packet_changes_nothing_that_follows(
    packets: list[Spikes], cut: int, restart_after: int, reorder: int
) -> None:
    rules = Rules(restart_after=restart_after, reorder=reorder)
    whole, before = (Session("a", Shared(PREDICTOR, rules, "run")) for _ in range(2))
    expected = fed(whole, *packets)
    first = fed(before, *packets[:cut])
    after = Session.from_bytes(before.to_bytes(), Shared(PREDICTOR, rules, "run"))
    assert told(first + fed(after, *packets[cut:])) == told(expected)
    assert after.to_bytes() == whole.to_bytes()


@given(packets=lengths.map(wandering))
@settings(max_examples=50, deadline=None)
def test_seam_is_the_session_as_a_function_of_bytes(packets: list[Spikes]) -> None:
    codec, answers, state, payloads = SPIKES["spikes_msgpack"], CODECS["frame"], b"", []
    for packet in packets:
        payload = codec.encode(packet)
        state, some = advance_spikes(PREDICTOR, Rules(), codec, answers, "a", state, payload)
        payloads += some
    predictions = [answers.decode_prediction(payload)[0] for payload in payloads]
    assert told(predictions) == told(fed(session(), *packets))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xc1", "expected a row of spikes: "),
        (Bins(0, 1.0, 4, 0).to_bytes(), "expected counts of 40 bytes, got 32"),
    ],
)
def test_row_of_another_model_or_no_row_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=f"^session state: {message}"):
        Bins.from_bytes(data, 100.0, 5)
