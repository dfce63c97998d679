"""An ensemble answers with the mean of its members; it is fitted, resumed and fine-tuned member by member."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import ModelError
from stream_rnn.model.ensemble import joined, members_of
from stream_rnn.model.file import load_model, save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.ensemble import fit_networks
from stream_rnn.training.fit import fit
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch
from tests.small import small_model

CORTEX = simulate(30, 6, seed=3)
QUICK = Options(seed=5, units=4, layers=1, epochs=3, window_s=1.0)
XS = np.random.default_rng(0).poisson(2, (50, 5)).astype(np.float32)


def ignore(epoch: Epoch) -> None:
    """Watch nothing."""


def alike(count: int) -> list[Model]:
    return [small_model(seed=seed) for seed in range(1, count + 1)]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_an_ensemble_answers_with_the_mean_of_its_members(count: int) -> None:
    models = alike(count)
    mean = np.mean([Predictor(model).run(XS) for model in models], axis=0)
    np.testing.assert_allclose(Predictor(joined(models)).run(XS), mean, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [2, 4])
def test_an_ensemble_of_a_power_of_two_is_taken_apart_to_the_same_bits(count: int) -> None:
    models = alike(count)
    for model, member in zip(models, members_of(joined(models)), strict=True):
        np.testing.assert_array_equal(member.weights, model.weights)
        assert member.card == model.card
    assert members_of(models[0]) == [models[0]]


def test_an_ensemble_comes_back_from_its_file(tmp_path: Path) -> None:
    whole = joined(alike(3))
    save_model(whole, tmp_path / "whole.safetensors")
    again = load_model(tmp_path / "whole.safetensors")
    assert again.hash == whole.hash
    assert str(again.card.architecture) == "5 inputs, 3 x (gru 7, lstm 6), 2 linear outputs"
    assert {"members.0.layers.0.W", "members.2.readout.b"} <= set(again.tensors())


def test_only_single_networks_that_are_alike_are_joined() -> None:
    one, other = alike(2)
    shifted = msgspec.structs.replace(other, mean=other.mean + 1)
    for models, told in (
        ([one, small_model(units=8)], "expected architecture 5 inputs, gru 7, lstm 6"),
        ([one, shifted], "expected one mean and deviation of the features, got others"),
        ([one, small_model(missing="zero")], "expected missing hold, got zero"),
        ([one], "expected at least two single networks, got 1"),
        ([joined([one, other])] * 2, "expected at least two single networks"),
    ):
        with pytest.raises(ModelError, match="ensemble: ") as refused:
            joined(models)
        assert told in str(refused.value)


def test_members_are_fits_of_seeds_that_follow_one_another() -> None:
    told: list[Epoch] = []
    whole = fit_networks([CORTEX], QUICK, told.append, members=2)
    alone = [fit([CORTEX], msgspec.structs.replace(QUICK, seed=seed), ignore) for seed in (5, 6)]
    assert [one.model.hash for one in whole.members] == [one.model.hash for one in alone]
    assert [(epoch.number, epoch.of) for epoch in told] == [(number, 6) for number in range(1, 7)]
    mean = np.mean([Predictor(one.model).run(CORTEX.x) for one in alone], axis=0)
    np.testing.assert_allclose(Predictor(whole.model).run(CORTEX.x), mean, atol=1e-4, rtol=0)
    provenance = whole.model.card.provenance
    assert provenance["members_validation_r2"] == [round(one.validation_r2, 6) for one in alone]
    assert provenance["validation_r2"] == round(whole.validation_r2, 6)
    assert whole.model.residuals is not None
    assert len(whole.model.golden_x) == 16


def test_one_member_is_a_plain_fit() -> None:
    assert fit_networks([CORTEX], QUICK, ignore).model.hash == fit([CORTEX], QUICK, ignore).model.hash


@pytest.mark.parametrize("killed_after", [2, 4])
def test_a_killed_ensemble_goes_on_with_the_same_bits(tmp_path: Path, killed_after: int) -> None:
    def keepers(*, resume: bool) -> list[Keeper]:
        beside = [Keeper.beside(tmp_path / "m", resume=resume, member=member) for member in range(2)]
        return [Keeper(keeper.path, resume=keeper.resume, every_s=0.0) for keeper in beside]

    def kill(epoch: Epoch) -> None:
        if epoch.number == killed_after:
            raise KeyboardInterrupt

    whole = fit_networks([CORTEX], QUICK, ignore, members=2)
    with pytest.raises(KeyboardInterrupt):
        fit_networks([CORTEX], QUICK, kill, members=2, keepers=keepers(resume=False).__getitem__)
    told: list[Epoch] = []
    again = fit_networks([CORTEX], QUICK, told.append, members=2, keepers=keepers(resume=True).__getitem__)
    assert [epoch.number for epoch in told] == list(range(killed_after + 1, 7))
    assert again.model.hash == whole.model.hash


def test_fine_tuning_goes_on_with_every_member() -> None:
    whole = fit_networks([CORTEX], QUICK, ignore, members=2).model
    tuned = fit_networks([CORTEX], msgspec.structs.replace(QUICK, seed=9), ignore, parent=whole)
    assert tuned.model.card.architecture == whole.card.architecture
    assert tuned.model.card.provenance["fine_tuned_from"] == whole.hash
    before = [member.weights for member in members_of(whole)]
    after = [member.weights for member in members_of(tuned.model)]
    for one, other in zip(before, after, strict=True):
        assert 0 < np.abs(one - other).max() < 1
