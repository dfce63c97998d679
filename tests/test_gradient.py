"""The gradient against finite differences of the float64 twin, for every cell and depth; and Adam."""

import msgspec
import numpy as np
import pytest

from stream_rnn.model.architecture import Architecture, Layer, Readout
from stream_rnn.model.model import split_weights
from stream_rnn.sample import F32
from stream_rnn.training.adam import BETA1, BETA2, EPSILON, Adam, clip, cosine
from stream_rnn.training.gradient import Backpropagation, Dropout
from tests import reference
from tests.laws import Made
from tests.reference import F64
from tests.test_kernels import CELLS, TRAINED

NONE = Dropout()
STEP = 1e-5
T, B = 7, 3


def small(layer: Layer, depth: int, readout: Readout = "linear", outputs: int = 2) -> Made:
    thin = msgspec.structs.replace(layer, units=3)
    architecture = Architecture(inputs=2, layers=(thin,) * depth, outputs=outputs, readout=readout)
    return Made(architecture, T * B, seed=depth)


def batch(made: Made) -> tuple[F32, F32]:
    rng = np.random.default_rng(9)
    Y = rng.standard_normal((T, B, made.architecture.outputs)).astype(np.float32)
    Y[4, 1] = np.nan
    return np.ascontiguousarray(made.xs.reshape(T, B, -1)), Y


def gradient(
    made: Made,
    X: F32,
    Y: F32,
    scored_from: int,
    dweights: F32,
    dropout: Dropout = NONE,
    rng: np.random.Generator | None = None,
) -> tuple[float, int]:
    """The gradient of windows, (T, B, D), added to `dweights`."""
    passes = Backpropagation(made.plan, X.shape[0], X.shape[1])
    rng = np.random.default_rng(0) if rng is None else rng
    return passes.add_gradient(made.weights, X, Y, scored_from, dweights, dropout, rng)


def analytic(made: Made, scored_from: int) -> tuple[float, int, F32]:
    X, Y = batch(made)
    dweights = np.zeros_like(made.weights)
    loss, count = gradient(made, X, Y, scored_from, dweights)
    return loss, count, dweights


def loss_at(made: Made, weights: F64, scored_from: int) -> float:
    X, Y = (array.astype(np.float64) for array in batch(made))
    named = split_weights(made.architecture, weights)  # type: ignore[arg-type]  # views of any float
    return reference.loss(made.architecture, named, X, Y, scored_from)  # type: ignore[arg-type]  # likewise


def check_against_finite_differences(made: Made, scored_from: int) -> None:
    loss, _, dweights = analytic(made, scored_from)
    exact = made.weights.astype(np.float64)
    assert loss == pytest.approx(loss_at(made, exact, scored_from), rel=1e-5)
    for i in range(len(exact)):
        up, down = exact.copy(), exact.copy()
        up[i] += STEP
        down[i] -= STEP
        slope = (loss_at(made, up, scored_from) - loss_at(made, down, scored_from)) / (2 * STEP)
        assert dweights[i] == pytest.approx(slope, rel=2e-3, abs=2e-5), f"weight {i}"


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("cell", TRAINED)
def test_gradient_of_every_cell_and_depth_equals_finite_differences(cell: str, depth: int) -> None:
    check_against_finite_differences(small(CELLS[cell], depth), scored_from=2)


@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (3, 16), (5, 19), (18, 33)])
@pytest.mark.parametrize("cell", TRAINED)
def test_gradient_of_awkward_sizes_equals_the_slope_along_every_array(
    cell: str, inputs: int, units: int
) -> None:
    kind = CELLS[cell]
    layers = tuple(msgspec.structs.replace(kind, units=size) for size in (units, units + 2))
    steps, windows = 48, 3  # more rows than are summed at once
    made = Made(Architecture(inputs=inputs, layers=layers, outputs=2), steps * windows)
    rng = np.random.default_rng(4)
    X = np.ascontiguousarray(made.xs.reshape(steps, windows, inputs))
    Y = rng.standard_normal((steps, windows, 2)).astype(np.float32)
    dweights = np.zeros_like(made.weights)
    gradient(made, X, Y, 3, dweights)
    exact = split_weights(made.architecture, made.weights)
    named = {name: array.astype(np.float64) for name, array in exact.items()}
    for name, found in split_weights(made.architecture, dweights).items():
        along = rng.standard_normal(found.shape) / np.sqrt(found.size)
        ends = [named | {name: named[name] + step * along} for step in (STEP, -STEP)]
        up, down = (reference.loss(made.architecture, end, X, Y, 3) for end in ends)  # type: ignore[arg-type]  # F32
        assert np.sum(found * along) == pytest.approx((up - down) / (2 * STEP), rel=2e-3, abs=2e-3), name


@pytest.mark.parametrize("readout", ["tanh", "sigmoid", "softmax"])
def test_gradient_through_every_readout_equals_finite_differences(readout: Readout) -> None:
    check_against_finite_differences(small(CELLS["gru"], 1, readout, outputs=3), scored_from=0)


def test_targets_that_are_nan_or_before_the_scored_part_do_not_count() -> None:
    assert analytic(small(CELLS["gru"], 1), scored_from=2)[1] == (T - 2) * B * 2 - 2


def test_shards_add_up_to_the_batch() -> None:
    made = small(CELLS["lstm"], 2)
    X, Y = batch(made)
    loss, count, whole = analytic(made, 2)
    total, losses, counts = np.zeros_like(whole), 0.0, 0
    for part in (slice(0, 1), slice(1, 3)):
        x, y = np.ascontiguousarray(X[:, part]), np.ascontiguousarray(Y[:, part])
        shard = gradient(made, x, y, 2, total)
        losses, counts = losses + shard[0], counts + shard[1]
    assert counts == count
    assert losses == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(total, whole, rtol=1e-4, atol=1e-6)


def test_dropped_inputs_have_no_part_in_the_gradient() -> None:
    made = small(CELLS["gru"], 1)
    X, Y = batch(made)
    dweights = np.zeros_like(made.weights)
    gradient(made, X, Y, 0, dweights, Dropout(inputs=0.999999))
    named = split_weights(made.architecture, dweights)
    assert (named["layers.0.W"] == 0).all()
    assert (named["layers.0.b"] != 0).any()


def test_dropout_keeps_the_expected_gradient_of_the_readout() -> None:
    made = small(CELLS["elman"], 1)
    X, Y = batch(made)
    _, _, exact = analytic(made, 0)
    rng, total = np.random.default_rng(3), np.zeros_like(made.weights)
    for _ in range(4000):
        gradient(made, X, Y, 0, total, Dropout(readout=0.2), rng)
    total /= np.float32(4000)
    bias = split_weights(made.architecture, total)["readout.b"]
    np.testing.assert_allclose(bias, split_weights(made.architecture, exact)["readout.b"], rtol=0.05)


def test_adam_equals_its_paper() -> None:
    rng = np.random.default_rng(1)
    decay = np.array([0.0, 0.1, 0.0, 0.2], dtype=np.float32)
    weights = rng.standard_normal(4).astype(np.float32)
    exact, m, v = weights.astype(np.float64), np.zeros(4), np.zeros(4)
    adam = Adam(decay)
    for time in range(1, 51):
        g = rng.standard_normal(4).astype(np.float32)
        adam.step(weights, g, 0.01)
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g.astype(np.float64) ** 2
        ratio = (m / (1 - BETA1**time)) / (np.sqrt(v / (1 - BETA2**time)) + EPSILON)
        exact -= 0.01 * decay * exact + 0.01 * ratio
    np.testing.assert_allclose(weights, exact, rtol=1e-4, atol=1e-6)


def test_clip_scales_only_what_is_too_long() -> None:
    long: F32 = np.array([3.0, 4.0], dtype=np.float32)
    assert clip(long, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(long, [0.6, 0.8], rtol=1e-6)
    short: F32 = np.array([0.3, 0.4], dtype=np.float32)
    clip(short, 1.0)
    np.testing.assert_array_equal(short, np.array([0.3, 0.4], dtype=np.float32))


def test_cosine_falls_from_the_rate_to_nothing() -> None:
    assert [cosine(2.0, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 1.0, 0.0])
