"""The predictor: steps, bins and their phases, missing values, states that come and go."""

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import ModelError, SampleError
from stream_rnn.model.model import Model, split_weights
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import Missing, Outcome
from stream_rnn.sample import F32
from stream_rnn.stepper import advance, advance_run
from tests import reference
from tests.small import signatures, small_model

XS: F32 = np.random.default_rng(1).poisson(2, (60, 5)).astype(np.float32)


def twin(model: Model, xs: F32) -> reference.F64:
    """What the model must answer: one float64 network a phase, on bins that do not overlap."""
    size = model.card.bin
    sums = (reference.binned(xs.astype(np.float64), size) - model.mean) / model.std
    ys = np.empty((len(xs), model.card.architecture.outputs))
    for phase in range(size):
        network = reference.Network(
            model.card.architecture, split_weights(model.card.architecture, model.weights)
        )
        ys[phase::size] = network.run(sums[phase::size])
    return ys


@pytest.mark.parametrize("bin_samples", [1, 2, 5])
def test_phases_take_turns_on_bins_that_do_not_overlap(bin_samples: int) -> None:
    model = small_model(bin_samples=bin_samples)
    np.testing.assert_allclose(Predictor(model).run(XS), twin(model, XS), atol=2e-5)


@pytest.mark.parametrize("bin_samples", [1, 4])
def test_run_equals_repeated_step(bin_samples: int) -> None:
    predictor = Predictor(small_model(bin_samples=bin_samples))
    stepped = np.array([predictor.step(x, "a") for x in XS])
    np.testing.assert_array_equal(predictor.run(XS, "b"), stepped)


def test_what_cannot_be_written_to_is_stepped_by_the_same_compiled_step() -> None:
    predictor = Predictor(small_model())
    compiled = len(signatures(advance)), len(signatures(advance_run))
    frozen = XS.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(predictor.step(frozen[0], "a"), predictor.step(XS[0], "b"))
    np.testing.assert_array_equal(predictor.run(frozen, "c"), predictor.run(XS, "d"))
    assert (len(signatures(advance)), len(signatures(advance_run))) == compiled


def test_streams_do_not_mix() -> None:
    predictor = Predictor(small_model())
    mixed = [(predictor.step(x, "a"), predictor.step(x[::-1].copy(), "b")) for x in XS]
    a, b = (np.array(column) for column in zip(*mixed, strict=True))
    np.testing.assert_array_equal(a, Predictor(small_model()).run(XS))
    np.testing.assert_array_equal(b, Predictor(small_model()).run(XS[:, ::-1]))
    assert predictor.streams == ("a", "b")


def test_reset_forgets_one_stream_or_all() -> None:
    predictor = Predictor(small_model())
    first = predictor.step(XS[0], "a")
    predictor.step(XS[1], "b")
    predictor.reset("a")
    np.testing.assert_array_equal(predictor.step(XS[0], "a"), first)
    predictor.reset()
    assert predictor.streams == ()


@pytest.mark.parametrize("cut", [0, 1, 3, 30])
def test_state_goes_on_in_another_process(cut: int) -> None:
    predictor, other = Predictor(small_model(bin_samples=4)), Predictor(small_model(bin_samples=4))
    whole = Predictor(small_model(bin_samples=4)).run(XS)
    predictor.run(XS[:cut], "a")
    other.restore(predictor.state("a"), "elsewhere")
    np.testing.assert_array_equal(other.run(XS[cut:], "elsewhere"), whole[cut:])


def test_state_of_another_model_is_refused() -> None:
    state = Predictor(small_model(bin_samples=2)).state()
    with pytest.raises(ModelError, match=r"^state: expected \d+ bytes for this model, got \d+$"):
        Predictor(small_model()).restore(state)


def test_wrong_width_is_refused_and_changes_nothing() -> None:
    predictor = Predictor(small_model())
    with pytest.raises(SampleError, match=r"^sample: expected 5 features, got shape \(4,\)$"):
        predictor.step([1, 2, 3, 4])
    with pytest.raises(SampleError, match=r"^samples: expected \(T, 5\), got shape \(5,\)$"):
        predictor.run([1, 2, 3, 4, 5])
    np.testing.assert_array_equal(predictor.step(XS[0]), Predictor(small_model()).step(XS[0]))


@pytest.mark.parametrize(("missing", "stand_in"), [("hold", 3.0), ("mean", 2.0), ("zero", 0.0)])
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_missing_feature_is_replaced_by_the_policy(missing: Missing, stand_in: float, hole: float) -> None:
    predictor = Predictor(small_model(missing=missing))
    predictor.step([1, 2, 3, 4, 5], "a")
    predictor.step([1, 2, 3, 4, 5], "b")
    holed = predictor.step([5, 4, hole, 2, 1], "a")
    np.testing.assert_array_equal(holed, predictor.step([5, 4, stand_in, 2, 1], "b"))


def test_hold_before_any_value_is_the_mean() -> None:
    predictor = Predictor(small_model(missing="hold"))
    np.testing.assert_array_equal(
        predictor.step([1, np.nan, 3, 4, 5], "a"), predictor.step([1, 2, 3, 4, 5], "b")
    )


def test_fail_answers_nan_and_leaves_the_hidden_state_alone() -> None:
    predictor = Predictor(small_model(missing="fail", bin_samples=2))
    predictor.run(XS[:10])
    before = predictor.state()
    assert np.isnan(predictor.step([1, np.nan, 3, 4, 5])).all()
    assert predictor.state() == before
    np.testing.assert_array_equal(predictor.run(XS[10:]), Predictor(small_model(bin_samples=2)).run(XS)[10:])


def test_run_skips_failed_samples_as_step_does() -> None:
    xs = XS.copy()
    xs[7, 1] = np.nan
    stepping, running = Predictor(small_model(missing="fail")), Predictor(small_model(missing="fail"))
    np.testing.assert_array_equal(running.run(xs), np.array([stepping.step(x) for x in xs]))


def test_output_that_is_not_finite_is_reported() -> None:
    model = small_model()
    weights = model.weights.copy()
    weights[-1] = np.nan  # the last output's bias
    golden = np.empty((0, 5), dtype=np.float32), np.empty((0, 2), dtype=np.float32)
    broken = msgspec.structs.replace(model, weights=weights, golden_x=golden[0], golden_y=golden[1])
    predictor = Predictor(broken)
    y = np.empty(2, dtype=np.float32)
    assert predictor.advance(predictor.new_memory().data, 0, XS[0], y) == Outcome.NAN
    assert np.isfinite(y[0])


def test_first_bin_is_reported_until_it_is_full() -> None:
    predictor = Predictor(small_model(bin_samples=3))
    memory, y = predictor.new_memory().data, np.empty(2, dtype=np.float32)
    outcomes = [predictor.advance(memory, 0, x, y) for x in XS[:4]]
    assert outcomes == [Outcome.WARMUP, Outcome.WARMUP, 0, 0]
