"""bfloat16 weights: rounded to the nearest, and half of their bytes give the bits of the whole float32."""

import numpy as np
import pytest

from stream_rnn.kernels.half import fits_half, halved, rounded
from stream_rnn.kernels.vector import LANES
from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32
from tests.small import small_model
from tests.test_kernels import CELLS
from tests.test_stepper import bits, holed

INPUTS = 19


class Whole(Model, frozen=True):
    """A model whose weights are bfloat16, stepped as if they were not."""

    @property
    def half(self) -> bool:
        return False


def pair(model: Model) -> tuple[Predictor, Predictor]:
    """A predictor with halved weights, and one with the same weights whole."""
    zero, one = np.zeros_like(model.mean), np.ones_like(model.std)  # a z-score that changes no weight
    r = Model(model.card, model.rounded().weights, zero, one, model.golden_x[:0], model.golden_y[:0])
    return Predictor(r), Predictor(Whole(r.card, r.weights, zero, one, r.golden_x, r.golden_y))


@pytest.mark.parametrize(
    ("weight", "nearest"),
    [
        (1.0, 1.0),
        (1 + 2**-8, 1.0),  # in the middle: the even one is below
        (1 + 3 * 2**-8, 1 + 2**-6),  # in the middle: the even one is above
        (1 + 2**-8 + 2**-23, 1 + 2**-7),
        (1 + 2**-7 + 2**-9, 1 + 2**-7),
        (2**-133, 2**-133),  # the smallest
        (2**-135, 0.0),
        (0.0, 0.0),
        (np.inf, np.inf),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_weight_is_rounded_to_the_nearest_even(weight: float, nearest: float, sign: int) -> None:
    got = rounded(np.array([sign * weight], dtype=np.float32))
    assert bits(got) == bits(np.array([sign * nearest], dtype=np.float32))


def test_no_bfloat16_is_nearer_than_the_rounded_weight() -> None:
    weights = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    got = rounded(weights)
    error = np.abs(got.astype(np.float64) - weights)
    for step in (-0x10000, 0x10000):
        neighbour = (got.view(np.int32) + np.int32(step)).view(np.float32)
        assert (error <= np.abs(neighbour.astype(np.float64) - weights)).all()
    assert (error <= 2.0**-8 * np.abs(weights)).all()
    assert (fits_half(got), fits_half(weights)) == (True, False)
    assert bits(rounded(got)) == bits(got)


def test_nan_stays_nan_when_rounded() -> None:
    assert np.isnan(rounded(np.array([np.nan], dtype=np.float32))).all()


@pytest.mark.parametrize("vectors", [1, 2, 5])
def test_halves_lie_in_pairs_of_vectors(vectors: int) -> None:
    panel = rounded(np.random.default_rng(1).standard_normal((3, vectors * LANES)).astype(np.float32))
    upper = panel.view(np.uint32).reshape(3, vectors, LANES) >> 16
    for row, halves in zip(upper, halved(panel), strict=True):
        for a in range(0, vectors - 1, 2):
            words = halves[a * LANES : (a + 2) * LANES].view(np.uint32)
            assert (words & 0xFFFF).tolist() == row[a].tolist()
            assert (words >> 16).tolist() == row[a + 1].tolist()
        assert vectors % 2 == 0 or halves[-LANES:].tolist() == row[-1].tolist()


SIZES = {**{cell: (kind,) * 2 for cell, kind in CELLS.items()}, "one unit": (Layer("lstm", 1),)}
SIZES["1024 units"] = (Layer("elman", 1024, "relu"), Layer("gru", 1024))


@pytest.mark.parametrize("name", list(SIZES))
def test_halved_weights_give_the_bits_of_whole_ones(name: str) -> None:
    model = small_model(INPUTS, bin_samples=2, layers=SIZES[name])
    half, whole = pair(model)
    xs = holed(np.random.default_rng(2), 8, INPUTS)
    assert (half.model.half, whole.model.half) == (True, False)
    assert str(half.stepper.dtype) == ("int32" if LANES > 1 else "float32")
    assert bits(half.run(xs)) == bits(whole.run(xs))
    assert bits(half.run(xs)) == bits(np.array([whole.step(x) for x in xs]))
    keys = [str(i) for i in range(8)]
    assert bits(half.step_many(xs, keys)) == bits(whole.step_many(xs, keys))
    assert half.state("3") == whole.state("3")


@pytest.mark.parametrize("cell", list(CELLS))
def test_rounded_weights_change_outputs_by_less_than_a_hundredth(cell: str) -> None:
    model = small_model(INPUTS, layers=(CELLS[cell],))
    small = model.weights * np.float32(0.3)  # of a network that does not amplify
    made = Model(model.card, small, model.mean, model.std, model.golden_x[:0], model.golden_y[:0])
    xs: F32 = np.random.default_rng(3).poisson(2, (200, INPUTS)).astype(np.float32)
    ys = Predictor(made).run(xs)
    assert np.abs(Predictor(made.rounded()).run(xs) - ys).max() < 0.01 * np.abs(ys).max()
