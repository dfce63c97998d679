"""Rows of memory: new ones are zero, those that were used before too; growth moves what is in them."""

import numpy as np
import pytest

from stream_rnn.memory import COUNT, LAST_SEQ, STATUS, STEPPED, T_NS, TICKET, WINDOW_AT, Memories, Shape
from stream_rnn.predictor import Predictor
from tests.small import small_model
from tests.test_stepper import bits, holed

SHAPE = Shape(bin=2, width=3, kept=0, state=5)


def written(memories: Memories, at: int, value: float) -> None:
    memories.data[at : at + memories.stride] = value


def test_row_given_back_is_zero_when_it_is_taken_again() -> None:
    memories = Memories(SHAPE, 3)
    rows = [memories.take() for _ in range(3)]
    for at in rows:
        written(memories, at, 1.0)
    for at in rows[1:]:
        memories.give_back(at)
    again = {memories.take(), memories.take()}
    assert again == set(rows[1:])
    for at in again:
        assert not memories.data[at : at + memories.stride].any()
    assert (memories.data[: memories.stride] == 1.0).all()


def test_rows_are_whole_cache_lines_and_do_not_overlap() -> None:
    memories = Memories(SHAPE, 20)
    rows = [memories.take() for _ in range(20)]
    assert memories.stride % 16 == 0
    assert memories.stride >= WINDOW_AT + SHAPE.values
    assert rows == [i * memories.stride for i in range(20)]
    assert memories.data.size == 20 * memories.stride


def test_one_row_too_many_is_refused() -> None:
    memories = Memories(SHAPE, 1)
    memories.take()
    with pytest.raises(IndexError, match=r"^memories: expected at most 1 streams, got one more$"):
        memories.take()


def test_growth_keeps_what_is_in_the_rows() -> None:
    memories = Memories(SHAPE)
    rows = []
    for i in range(100):
        rows.append(memories.take())
        written(memories, rows[-1], float(i))
        memories.set(rows[-1], LAST_SEQ, i)
    for i, at in enumerate(rows):
        assert memories.of(at).states.tolist() == np.full((2, 5), i).tolist()
        assert memories.get(at, LAST_SEQ) == i


def test_growth_in_the_middle_changes_no_prediction() -> None:
    predictor, few = Predictor(small_model()), Predictor(small_model())
    xs = holed(np.random.default_rng(1), 40, 70, 5)
    keys = [f"{i}" for i in range(70)]
    for t, x in enumerate(xs):
        streams = keys[: 1 + 2 * t]  # rows are added while others are in use
        got = predictor.step_many(x[: len(streams)], streams)
        assert bits(got[0]) == bits(few.step(x[0], "0"))
    assert predictor.state("0") == few.state("0")


def test_forgetting_a_row_keeps_what_a_session_keeps_there() -> None:
    memories = Memories(SHAPE, 2)
    at = [memories.take(), memories.take()][1]
    written(memories, at, 1.0)
    written(memories, 0, 1.0)
    kept = {field: memories.get(at, field) for field in (LAST_SEQ, T_NS, STEPPED, STATUS)}
    memories.forget(at)
    assert {field: memories.get(at, field) for field in kept} == kept
    assert (memories.get(at, COUNT), memories.get(at, TICKET)) == (0, 0)
    assert not memories.of(at).window.any()
    assert not memories.of(at).states.any()
    assert memories.of(0).states.all()


@pytest.mark.parametrize("cut", [1, 2, 17])
def test_memory_goes_through_bytes_in_the_middle_of_a_bin(cut: int) -> None:
    predictor, xs = Predictor(small_model(bin_samples=4)), holed(np.random.default_rng(2), 30, 5)
    whole, first, then = predictor.new_memory(), predictor.new_memory(), predictor.new_memory()
    ys, expected = np.empty((2, len(xs), 2), dtype=np.float32)
    for t, x in enumerate(xs):
        predictor.advance(whole.data, 0, x, expected[t])
        if t == cut:
            predictor.prepare(first.data, 0)
            then.load(first.to_bytes())
        predictor.advance((first if t < cut else then).data, 0, x, ys[t])
    assert bits(ys) == bits(expected)
    assert then.to_bytes() == whole.to_bytes()
