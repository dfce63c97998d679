"""The compiled step: a batch gives the bits of single steps, no old ticket is taken, all is compiled once."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.kernels.vector import LANES
from stream_rnn.memory import Memories
from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import Missing
from stream_rnn.sample import F32, I64
from stream_rnn.stepper import ANY, NO_TIME, advance, advance_many, prepare
from tests.small import signatures, small_model
from tests.test_kernels import CELLS

ROOT = Path(__file__).parents[1]
INPUTS = 5


@functools.cache
def predictor_of(cell: str, bin_samples: int = 1, missing: Missing = "hold") -> Predictor:
    members = 3 if cell == "ensemble" else msgspec.UNSET
    layers = (CELLS[cell.replace("ensemble", "gru")],) * 2
    return Predictor(
        small_model(INPUTS, bin_samples=bin_samples, missing=missing, layers=layers, members=members)
    )


def holed(rng: np.random.Generator, *shape: int) -> F32:
    """Counts, a few of them missing."""
    xs = rng.poisson(2, shape).astype(np.float32)
    xs[rng.random(shape) < 0.05] = np.nan
    return xs


def many(predictor: Predictor, data: F32, places: I64, X: F32) -> tuple[F32, list[int]]:
    """One batched step: outputs and outcomes."""
    N = len(places)
    Y, outcomes = np.empty((N, predictor.outputs), dtype=np.float32), np.empty(N, dtype=np.int64)
    seqs, times = np.full(N, ANY), np.full(N, NO_TIME)
    stepped = predictor.advance_many(data, places, seqs, times, N, X, Y, outcomes)
    assert stepped == sum(not outcome & 2 for outcome in outcomes.tolist())
    return Y, outcomes.tolist()


def bits(values: F32) -> list[int]:
    flat: list[int] = np.ascontiguousarray(values).view(np.uint32).reshape(-1).tolist()
    return flat


@pytest.mark.parametrize("N", [1, 2, 5, 6, 7, 8, 95, 96, 97, 200])
@pytest.mark.parametrize("cell", [*CELLS, "ensemble"])
def test_batch_gives_the_bits_of_single_steps(cell: str, N: int) -> None:
    predictor, rng = predictor_of(cell, 3), np.random.default_rng(N)
    for _ in range(4):
        X = holed(rng, N, INPUTS)
        together = predictor.step_many(X, [f"together {i}" for i in range(N)])
        assert bits(together) == bits(np.array([predictor.step(x, f"alone {i}") for i, x in enumerate(X)]))
    assert [predictor.state(f"alone {i}") for i in range(N)] == [
        predictor.state(f"together {i}") for i in range(N)
    ]
    predictor.reset()


@pytest.mark.parametrize("missing", ["hold", "mean", "zero", "fail"])
@pytest.mark.parametrize("bin_samples", [1, 4])
@pytest.mark.parametrize("cell", ["lstm", "gru reset before", "ensemble"])
def test_batches_single_steps_and_preparations_may_alternate(
    cell: str, bin_samples: int, missing: Missing
) -> None:
    predictor, rng, S = predictor_of(cell, bin_samples, missing), np.random.default_rng(3), 9
    xs, memories = holed(rng, 40, S, INPUTS), Memories(predictor.shape, S)
    places, ys = np.array([memories.take() for _ in range(S)]), np.empty((40, S, 2), dtype=np.float32)
    for t, x in enumerate(xs):
        together = rng.random(S) < 0.6
        for s in np.flatnonzero(~together).tolist():
            for prepared in rng.integers(0, S, rng.integers(0, 3)).tolist():
                predictor.prepare(memories.data, int(places[prepared]))
            predictor.advance(memories.data, int(places[s]), x[s], ys[t, s])
        ys[t, together], _ = many(predictor, memories.data, places[together], x[together])
    for s in range(S):
        assert bits(ys[:, s]) == bits(predictor.run(xs[:, s], "alone"))
        assert memories.of(int(places[s])).to_bytes() == predictor.state("alone")
        predictor.reset()


@pytest.mark.parametrize("S", [1, 2, 7])
@pytest.mark.parametrize("missing", ["mean", "fail"])
@pytest.mark.parametrize("cell", [*CELLS, "ensemble"])
def test_streams_that_come_again_in_a_batch_take_turns(cell: str, missing: Missing, S: int) -> None:
    predictor, rng, N = predictor_of(cell, 2, missing), np.random.default_rng(S), 230
    X, which, memories = holed(rng, N, INPUTS), rng.integers(0, S, N), Memories(predictor.shape, S)
    places = np.array([memories.take() for _ in range(S)])
    Y, _ = many(predictor, memories.data, places[which], X)
    for s in range(S):
        assert bits(Y[which == s]) == bits(predictor.run(X[which == s], "alone"))
        assert memories.of(int(places[s])).to_bytes() == predictor.state("alone")
        predictor.reset()


@pytest.mark.parametrize("missing", ["hold", "mean", "zero", "fail"])
@pytest.mark.parametrize("bin_samples", [1, 3])
def test_batch_tells_the_outcomes_of_single_steps(bin_samples: int, missing: Missing) -> None:
    predictor, rng, S = predictor_of("gru", bin_samples, missing), np.random.default_rng(4), 100
    a, b, y = Memories(predictor.shape, S), Memories(predictor.shape, S), np.empty(2, dtype=np.float32)
    places = np.array([(a.take(), b.take())[0] for _ in range(S)])
    for _ in range(5):
        X = holed(rng, S, INPUTS)
        _, outcomes = many(predictor, a.data, places, X)
        assert outcomes == [
            predictor.advance(b.data, at, x, y) for at, x in zip(places.tolist(), X, strict=True)
        ]


@pytest.mark.parametrize("units", [1, 1024])
def test_batch_gives_the_bits_of_single_steps_at_both_ends_of_sizes(units: int) -> None:
    predictor = Predictor(small_model(INPUTS, layers=(Layer("lstm", units), Layer("gru", 3))))
    X = holed(np.random.default_rng(5), 9, INPUTS)
    for _ in range(2):
        together = predictor.step_many(X, [f"together {i}" for i in range(9)])
        assert bits(together) == bits(np.array([predictor.step(x, f"alone {i}") for i, x in enumerate(X)]))


Between = Callable[[Predictor, Memories, int, int], None]


def other_steps(predictor: Predictor, memories: Memories, _: int, other: int) -> None:
    predictor.advance(memories.data, other, np.ones(INPUTS, np.float32), np.empty(2, np.float32))


def other_is_prepared(predictor: Predictor, memories: Memories, _: int, other: int) -> None:
    predictor.prepare(memories.data, other)


def batch_steps_it(predictor: Predictor, memories: Memories, at: int, other: int) -> None:
    many(predictor, memories.data, np.array([at, other]), np.ones((2, INPUTS), np.float32))


def it_goes_back(_: Predictor, memories: Memories, at: int, other: int) -> None:
    memories.of(at).load(memories.of(other).to_bytes())


def its_row_is_used_again(_: Predictor, memories: Memories, at: int, _other: int) -> None:
    memories.give_back(at)
    assert memories.take() == at


def another_predictor_prepares_it(_: Predictor, memories: Memories, at: int, _other: int) -> None:
    Predictor(small_model(INPUTS, seed=9, layers=(CELLS["lstm"],) * 2)).prepare(memories.data, at)


@pytest.mark.parametrize(
    "between",
    [
        other_steps,
        other_is_prepared,
        batch_steps_it,
        it_goes_back,
        its_row_is_used_again,
        another_predictor_prepares_it,
    ],
    ids=lambda between: between.__name__,
)
def test_ticket_of_what_is_no_more_is_never_taken(between: Between) -> None:
    predictor, xs = predictor_of("lstm"), holed(np.random.default_rng(6), 4, INPUTS)
    memories, plain = Memories(predictor.shape, 2), Memories(predictor.shape, 2)
    at, other = memories.take(), memories.take()
    y, expected = np.empty((2, 2), dtype=np.float32)
    for place, x in ((at, xs[0]), (at, xs[1]), (other, xs[2])):
        predictor.advance(memories.data, place, x, y)
    predictor.prepare(memories.data, at)
    between(predictor, memories, at, other)
    plain.take()
    plain.of(0).load(memories.of(at).to_bytes())
    predictor.advance(memories.data, at, xs[3], y)
    predictor.advance(plain.data, 0, xs[3], expected)
    assert bits(y) == bits(expected)


def test_step_is_compiled_once_for_each_kind_of_weights() -> None:
    for cell in CELLS:
        predictor_of(cell, 2).step_many(np.ones((2, INPUTS)), ("a", "b"))
    rounded: Model = small_model().rounded()
    Predictor(rounded)
    kinds = ["float32"] if LANES == 1 else ["float32", "int32"]
    for kernel in (advance, advance_many, prepare):
        assert sorted(str(given[0].dtype) for given in signatures(kernel)) == kinds


ALLOCATIONS = """
import numpy as np
from numba.core.runtime import rtsys
from stream_rnn.predictor import Predictor
from stream_rnn.stepper import ANY
from tests.small import small_model

predictor = Predictor(small_model(bin_samples=2))
data, x, y = predictor.new_memory().data, np.ones((1, 5), np.float32), np.empty((1, 2), np.float32)
place, seq, time, outcome = np.array([[0], [ANY], [0], [0]])
before = rtsys.get_allocation_stats().alloc
for _ in range(100):
    predictor.prepare(data, 0)
    predictor.advance(data, 0, x[0], y[0])
    predictor.advance_many(data, place, seq, time, 1, x, y, outcome)
print(rtsys.get_allocation_stats().alloc - before)
"""


def test_step_batch_and_preparation_allocate_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATIONS],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"NUMBA_NRT_STATS": "1"},
    )
    assert done.stdout.strip() == "0"
