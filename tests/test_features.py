"""What is computed of samples before the network: equal to the formulas, and the same bits on every path."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.features import Statistic
from stream_rnn.kernels.plan import weights_size
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Card, Channel, Model
from stream_rnn.predictor import Predictor, with_golden
from stream_rnn.preprocess import Preprocess
from stream_rnn.recordings.table import recording_of
from stream_rnn.sample import F32
from stream_rnn.training.windows import Data, features, gather, scale
from tests.small import saved_model

C = 3
ALL: tuple[Statistic, ...] = ("sum", "mean_absolute", "root_mean_square", "waveform_length")
KINDS = {
    "statistics": Preprocess.unscaled(C, 4, statistics=ALL),
    "logarithm": Preprocess.unscaled(C, 4, statistics=("mean_absolute",), logarithm=True),
    "own mean": Preprocess.unscaled(C, 2, prior=10),
    "everything": Preprocess.unscaled(C, 5, statistics=ALL[1:], logarithm=True, prior=10),
    "one sample": Preprocess.unscaled(C, 1, statistics=("mean_absolute",), logarithm=True, prior=3),
}


def data_of(T: int, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((T, C)) * [0.1, 1.0, 30.0]).astype(np.float32)
    y = rng.standard_normal((T, 2)).astype(np.float32)
    recording = np.arange(T) * 2 // T
    arrays = {"x": x, "y": y, "rate_hz": np.array(100.0), "recording": recording}
    return gather([recording_of(arrays, name="made", where="made")], horizon=0, validation=0.2)


def model_of(preprocess: Preprocess) -> Model:
    architecture = Architecture(inputs=preprocess.inputs, layers=(Layer("gru", 6),), outputs=2)
    card = Card(
        architecture=architecture,
        inputs=tuple(Channel(f"emg{c}", "mV") for c in range(C)),
        outputs=(Channel("angle", "deg"), Channel("speed")),
        rate_hz=100.0,
        bin=preprocess.bin,
        missing=preprocess.missing,
        horizon=0,
        statistics=preprocess.statistics,
        logarithm=preprocess.logarithm,
        prior=preprocess.prior,
    )
    weights = np.random.default_rng(1).standard_normal(weights_size(architecture.plan())) * 0.4
    none = np.empty((0, C), np.float32), np.empty((0, 2), np.float32)
    model = Model(card, weights.astype(np.float32), preprocess.mean, preprocess.std, *none)
    return with_golden(model, data_of(8, seed=9).x)


def statistics_of(bins: F32) -> np.ndarray:
    """Of the samples of one bin, (b, C), in float64."""
    x = bins.astype(np.float64)
    return np.concatenate(
        [
            x.sum(axis=0),
            np.abs(x).mean(axis=0),
            np.sqrt((x**2).mean(axis=0)),
            np.abs(np.diff(x, axis=0)).sum(axis=0),
        ]
    )


def test_statistics_are_those_of_the_last_samples() -> None:
    data = data_of(60)
    values = features(KINDS["statistics"], data)
    for span in data.spans:
        for t in range(span.start + 3, span.stop):
            expected = statistics_of(data.x[t - 3 : t + 1])
            np.testing.assert_allclose(values[t], expected, rtol=2e-5, atol=1e-4)


def test_logarithms_are_standard_and_a_silent_channel_has_the_least() -> None:
    data = data_of(400)
    data.x[300:, 1] = 0.0
    preprocess = scale(data, KINDS["logarithm"])
    values = features(preprocess, data)
    expected = np.log(np.abs(data.x[96:100].astype(np.float64)).mean(axis=0))
    np.testing.assert_allclose(values[99], (expected - preprocess.mean) / preprocess.std, atol=1e-4)
    assert values[350, 1] == -4.0


def test_a_channel_that_was_always_silent_is_switched_off() -> None:
    data = data_of(100)
    data.x[:, 2] = 0.0
    values = features(scale(data, KINDS["logarithm"]), data)
    assert (values[:, 2] == 0).all()
    assert np.isfinite(values).all()


def test_own_mean_and_deviation_grow_from_those_of_the_training_rows() -> None:
    data = data_of(200)
    preprocess = scale(data, KINDS["own mean"])
    values = features(preprocess, data).astype(np.float64)
    for span in data.spans:
        z = values[span.start + 1 : span.stop, :C]  # of full bins
        for n in (1, 7, len(z)):
            mean = z[:n].sum(axis=0) / (10 + n)
            variance = (10 + (z[:n] ** 2).sum(axis=0)) / (10 + n) - mean**2
            own = (z[n - 1] - mean) / np.sqrt(variance)
            np.testing.assert_allclose(values[span.start + n, C:], own, atol=2e-4)


@pytest.mark.parametrize("name", list(KINDS))
def test_online_and_offline_features_are_the_same_bits(name: str) -> None:
    data = data_of(60)
    preprocess = scale(data, KINDS[name])
    predictor = Predictor(model_of(preprocess))
    whole = predictor.run(data.x, "whole")
    one_by_one = np.array([predictor.step(x, "steps") for x in data.x])
    others = [f"{i}" for i in range(7)]
    together = np.array([predictor.step_many(np.tile(x, (7, 1)), others)[3] for x in data.x])
    assert whole.tobytes() == one_by_one.tobytes() == together.tobytes()
    predictor.run(data.x[:31], "cut")
    predictor.restore(predictor.state("cut"), "moved")
    assert predictor.run(data.x[31:], "moved").tobytes() == whole[31:].tobytes()


@given(t=st.integers(1, 50), name=st.sampled_from(list(KINDS)))
def test_the_future_changes_nothing_before_it(t: int, name: str) -> None:
    data = data_of(120)
    before = features(KINDS[name], data)[: len(data.x) // 2][:t]
    data.x[t:] *= -3.0
    assert features(KINDS[name], data)[:t].tobytes() == before.tobytes()


def test_a_model_file_keeps_what_is_computed(tmp_path: Path) -> None:
    model = model_of(scale(data_of(100), KINDS["everything"]))
    loaded = load_model(saved_model(tmp_path, model))
    assert (loaded.hash, loaded.preprocess.statistics) == (model.hash, ALL[1:])
    assert Predictor(loaded).inputs == C
    assert loaded.card.architecture.inputs == 2 * 3 * C
