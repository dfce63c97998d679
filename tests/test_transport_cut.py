from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.errors import WireError
from stream_rnn.transports.cut import CUTTERS, FrameCutter, Framing, LineCutter

Outcome = tuple[list[bytes], str]

LIMIT = 16
LINES = st.lists(st.binary(min_size=0, max_size=20).map(lambda b: b.replace(b"\n", b"-")), max_size=12)
BODIES = st.lists(st.binary(max_size=20), max_size=12)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def outcome(framing: Framing, pieces: list[bytes]) -> Outcome:
    cutter = CUTTERS[framing](LIMIT)
    payloads: list[bytes] = []
    try:
        for piece in pieces:
            for payload in cutter.feed(piece):
                payloads.append(payload)  # noqa: PERF402  # those before an error count
    except WireError as error:
        return payloads, error.reason
    return payloads, ""


@given(LINES, CUTS, st.binary(max_size=5))
def test_lines_do_not_depend_on_where_bytes_are_cut(lines: list[bytes], cuts: list[int], rest: bytes) -> None:
    data = LineCutter.join(lines) + rest
    assert outcome("lines", cut_at(data, cuts)) == outcome("lines", [data])


@given(BODIES, CUTS, st.binary(max_size=5))
def test_frames_do_not_depend_on_where_bytes_are_cut(
    bodies: list[bytes], cuts: list[int], rest: bytes
) -> None:
    data = FrameCutter.join(bodies) + rest
    assert outcome("frames", cut_at(data, cuts)) == outcome("frames", [data])


@given(st.lists(st.binary(max_size=LIMIT), max_size=12))
def test_frames_come_out_as_they_went_in(bodies: list[bytes]) -> None:
    assert outcome("frames", [FrameCutter.join(bodies)]) == (bodies, "")


@given(st.binary(max_size=200), CUTS)
def test_random_bytes_never_raise_anything_but_wire_errors(data: bytes, cuts: list[int]) -> None:
    for framing in CUTTERS:
        outcome(framing, cut_at(data, cuts))


def test_line_ends_of_both_kinds_are_taken_off_and_empty_lines_skipped() -> None:
    assert outcome("lines", [b"[1]\r\n\n\r\n[2]\n[3"]) == ([b"[1]", b"[2]"], "")


def test_payloads_before_an_oversized_one_are_kept() -> None:
    assert outcome("lines", [b"ok\n" + b"x" * 17 + b"\nlost\n"]) == ([b"ok"], "size")
    assert outcome("frames", [FrameCutter.join([b"ok", b"x" * 17])]) == ([b"ok"], "size")


def test_an_oversized_frame_is_refused_by_its_length_alone() -> None:
    with pytest.raises(WireError, match=r"^frame: expected at most 16 bytes, got 4294967295$"):
        list(FrameCutter(LIMIT).feed(b"\xff\xff\xff\xff"))


def test_an_endless_line_is_refused_before_it_ends() -> None:
    with pytest.raises(WireError, match=r"^line: expected at most 16 bytes, got more$"):
        list(LineCutter(LIMIT).feed(b"x" * 17))


@pytest.mark.parametrize(("framing", "bad"), [("lines", b"x" * 17), ("frames", b"\xff\xff\xff\xff")])
def test_a_cutter_repeats_its_error(framing: Framing, bad: bytes) -> None:
    cutter = CUTTERS[framing](LIMIT)
    for piece in (bad, b"\n", b"\x01\0\0\0a"):
        with pytest.raises(WireError):
            list(cutter.feed(piece))


def test_pending_counts_the_unfinished_payload() -> None:
    cases: list[tuple[Framing, bytes]] = [
        ("lines", b"[1]\n[2,"),
        ("frames", FrameCutter.join([b"a"]) + b"\x05\0\0"),
    ]
    for framing, data in cases:
        cutter = CUTTERS[framing](LIMIT)
        list(cutter.feed(data))
        assert cutter.pending == 3
