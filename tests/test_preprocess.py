"""The z-score in the weights: the same predictions, and only where float32 keeps its digits."""

import numpy as np
import pytest

from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model, split_weights
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import CONSTANTS_AT, MOST_DEVIATIONS, Preprocess
from stream_rnn.sample import F32
from tests import reference
from tests.small import small_model
from tests.test_kernels import CELLS

D = 6
TOLERANCE = 5e-5  # for means of up to MOST_DEVIATIONS deviations
LAYERS = {cell: (layer,) for cell, layer in CELLS.items()} | {"stack": (Layer("gru", 5), Layer("elman", 4))}


def model_of(mean: F32, std: F32, layers: tuple[Layer, ...], bin_samples: int = 1) -> Model:
    made = small_model(len(mean), bin_samples=bin_samples, layers=layers)
    return Model(made.card, made.weights, mean, std, made.golden_x[:0], made.golden_y[:0])


def twin(model: Model, xs: F32) -> reference.F64:
    """What a model without bins must answer, its z-score apart from its weights; a constant feature is 0."""
    scale = np.divide(1.0, model.std, out=np.zeros(len(model.std)), where=model.std > 0)
    network = reference.Network(
        model.card.architecture, split_weights(model.card.architecture, model.weights)
    )
    return network.run((xs.astype(np.float64) - model.mean) * scale)


def drawn(seed: int, deviations: float) -> tuple[F32, F32, F32]:
    """Mean and deviation of features, one of them constant, and samples of them."""
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.1, 20, D).astype(np.float32)
    mean = (std * rng.uniform(-deviations, deviations, D)).astype(np.float32)
    std[2] = 0
    xs = mean + std * rng.standard_normal((200, D))
    return mean, std, xs.astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", list(LAYERS))
def test_folded_z_score_gives_the_predictions_of_the_float64_twin(name: str, seed: int) -> None:
    mean, std, xs = drawn(seed, MOST_DEVIATIONS)
    model = model_of(mean, std, LAYERS[name])
    assert model.preprocess.folds
    np.testing.assert_allclose(Predictor(model).run(xs), twin(model, xs), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", list(LAYERS))
def test_mean_far_from_zero_is_taken_off_before_the_weights(name: str) -> None:
    mean, std, xs = drawn(2, 1000.0)
    model = model_of(mean, std, LAYERS[name])
    assert not model.preprocess.folds
    expected = twin(model, xs)
    np.testing.assert_allclose(Predictor(model).run(xs), expected, atol=5e-4, rtol=0)  # what xs carry


@pytest.mark.parametrize(
    ("mean", "std", "folds"),
    [
        ([0.0, 0.0], [1.0, 1.0], True),
        ([MOST_DEVIATIONS, -MOST_DEVIATIONS], [1.0, 1.0], True),
        ([MOST_DEVIATIONS * 1.001, 0.0], [1.0, 1.0], False),
        ([0.0, -MOST_DEVIATIONS * 1.001], [1.0, 1.0], False),
        ([1e9, 2.0], [0.0, 1.0], True),  # a constant feature has no digits to lose
        ([1e9, 1e9], [0.0, 0.0], True),
    ],
)
def test_z_score_folds_up_to_sixteen_deviations(mean: list[float], std: list[float], *, folds: bool) -> None:
    made = Preprocess(1, "hold", np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32))
    assert made.folds is folds
    kept, scale, _ = made.stage(folded=True)[CONSTANTS_AT:].reshape(3, -1).tolist()
    unfolded = made.stage()[CONSTANTS_AT:].reshape(3, -1).tolist()
    assert [kept, scale] == ([[0.0, 0.0], [1.0, 1.0]] if folds else unfolded[:2])


@pytest.mark.parametrize("bin_samples", [1, 3])
def test_constant_feature_does_not_reach_the_outputs(bin_samples: int) -> None:
    mean, std, xs = drawn(3, 2.0)
    predictor = Predictor(model_of(mean, std, LAYERS["lstm"], bin_samples))
    other = xs.copy()
    other[:, 2] = 1e6
    np.testing.assert_array_equal(predictor.run(xs, "a"), predictor.run(other, "b"))


def test_halved_weights_are_not_folded_and_predict_as_their_twin() -> None:
    mean, std, xs = drawn(4, 4.0)
    rounded = model_of(mean, std, LAYERS["lstm"]).rounded()
    assert (rounded.half, rounded.preprocess.folds) == (True, True)
    np.testing.assert_allclose(Predictor(rounded).run(xs), twin(rounded, xs), atol=TOLERANCE, rtol=0)


def test_folding_keeps_the_weights_of_the_model() -> None:
    model = small_model()
    before = model.weights.copy()
    Predictor(model)
    np.testing.assert_array_equal(model.weights, before)
