"""Inputs that are zero: whether their weights are read or not, the bits are the same."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from stream_rnn.kernels import network, sparse
from stream_rnn.kernels.engine import FEW, INPUTS, PAUSE, make_engine, row_of
from stream_rnn.kernels.half import rounded
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import split_weights
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32
from tests.laws import Made
from tests.small import small_model
from tests.test_kernels import CELLS
from tests.test_stepper import bits

D = 40


def clock(*durations: int) -> Callable[[], int]:
    """A clock for `tune`: products of all, of a quarter and of half of the inputs take so long."""
    calls = 0

    def now() -> int:
        nonlocal calls
        round_of = calls // 2 // sparse.ROUNDS % 3
        time = durations[round_of] if calls % 2 else 0
        calls += 1
        return time

    return now


def everywhere() -> Callable[[], int]:
    return clock(10_000, 10, 20)


def nowhere() -> Callable[[], int]:
    return clock(100, 100, 200)


def field(engine: F32, layer: int, name: int) -> int:
    at = row_of(layer) + name
    return int(engine[at : at + 2].view(np.int64)[0])


def tuned(made: Made, *, half: bool = False) -> Made:
    """The same network, which reads only what is not zero wherever it can."""
    other = Made(made.architecture, len(made.xs))
    other.weights = made.weights
    other.engine = make_engine(made.plan, made.weights, half=half)
    sparse.tune(other.engine, np.zeros(64, dtype=np.float32), everywhere(), features=True)
    return other


def dense(cell: str, units: int = 17) -> Made:
    """A cell over rectified units, whose outputs can be zero."""
    kind = CELLS[cell]
    layers = (Layer("elman", units, "relu"), msgspec.structs.replace(kind, units=units))
    return Made(Architecture(inputs=D, layers=layers, outputs=3), 60)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("cell", list(CELLS))
def test_inputs_that_are_zero_may_be_left_out(cell: str, density: float) -> None:
    made, rng = dense(cell), np.random.default_rng(1)
    xs = np.where(rng.random(made.xs.shape) < density, made.xs, np.float32(0))
    xs[rng.random(xs.shape) < 0.02] *= -0.0  # both zeros
    assert bits(tuned(made).run(xs)) == bits(made.run(xs))


def test_sum_of_nothing_has_no_sign() -> None:
    made = Made(Architecture(inputs=D, layers=(Layer("elman", 17, "relu"),), outputs=3), 6)
    named = split_weights(made.architecture, made.weights)
    for name, array in named.items():
        array[:] = -0.0 if name.endswith(".b") else 1.0  # -0 + 0 x 1 is 0, and -0 where 0 x 1 is left out
    made.engine = make_engine(made.plan, made.weights)
    assert bits(tuned(made).run(np.zeros_like(made.xs))) == bits(made.run(np.zeros_like(made.xs)))


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_what_is_not_finite_is_not_left_out(hole: float) -> None:
    made = dense("lstm")
    xs = np.zeros_like(made.xs)
    xs[5, 3] = hole
    ys = tuned(made).run(xs)
    assert bits(ys) == bits(made.run(xs))
    assert np.isnan(ys[5:]).all()


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_halved_weights_are_left_out_as_well(density: float) -> None:
    made = dense("gru", 33)
    made.weights = rounded(made.weights)
    made.engine = make_engine(made.plan, made.weights)
    xs = np.where(np.random.default_rng(2).random(made.xs.shape) < density, made.xs, np.float32(0))
    assert bits(tuned(made, half=True).run(xs)) == bits(made.run(xs))


def test_large_matrix_is_left_out_as_a_small_one() -> None:
    made = Made(
        Architecture(inputs=D, layers=(Layer("elman", 520, "relu"), Layer("lstm", 300)), outputs=2), 6
    )
    made.xs[:, 4:] = 0
    assert bits(tuned(made).run(made.xs)) == bits(made.run(made.xs))


def test_inputs_are_not_counted_for_a_while_after_they_were_too_many() -> None:
    made = dense("lstm")
    engine, state = tuned(made).engine, made.state()
    full, empty = np.ones(D, dtype=np.float32), np.zeros(D, dtype=np.float32)
    pauses = []
    for x in (empty, full, *[empty] * (network.PAUSE_STEPS + 1), full):
        network.step(engine, x, 0, state, 0, np.empty(3, dtype=np.float32), False)  # noqa: FBT003 - numba's
        pauses.append(field(engine, 0, PAUSE))
    most = network.PAUSE_STEPS
    assert pauses == [0, most, *range(most - 1, -1, -1), 0, most]


def test_tuning_sets_what_the_clock_says() -> None:
    predictor = Predictor(small_model(D, layers=(Layer("elman", 20, "relu"), Layer("lstm", 20))))
    assert predictor.tune(nowhere()) == [0, 0, 0]
    assert predictor.tune(everywhere()) == [D, 20, 0]  # what the LSTM gives is never zero
    assert [field(predictor.stepper, layer, FEW) for layer in range(3)] == [D, 20, 0]
    assert predictor.tune(nowhere()) == [0, 0, 0]


@pytest.mark.parametrize("inputs", [1, sparse.LEAST_INPUTS - 1])
def test_few_inputs_are_not_worth_asking(inputs: int) -> None:
    predictor = Predictor(small_model(inputs, layers=(Layer("elman", 3, "relu"),)))
    assert predictor.tune(everywhere()) == [0, 0]
    assert field(predictor.stepper, 0, INPUTS) == inputs


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_tuned_predictor_gives_the_same_bits(density: float) -> None:
    model = small_model(D, bin_samples=2, layers=(Layer("elman", 20, "relu"), Layer("gru", 9)))
    plain, eager = Predictor(model), Predictor(model)
    eager.tune(everywhere())
    rng = np.random.default_rng(3)
    xs = (rng.poisson(2, (60, D)) * (rng.random((60, D)) < density)).astype(np.float32)
    xs[30, 1] = np.nan
    assert bits(np.array([eager.step(x) for x in xs])) == bits(plain.run(xs))
    assert bits(eager.run(xs)) == bits(plain.run(xs))
    assert bits(eager.step_many(xs, [str(i) for i in range(60)])) == bits(
        plain.step_many(xs, [str(i) for i in range(60)])
    )
