"""What a fit may be told: every option with its range and what it is by default."""

from typing import Annotated, Literal, Protocol, TypeAlias

import msgspec

from stream_rnn.errors import ConfigError
from stream_rnn.features import Statistic
from stream_rnn.model.architecture import CellName, Readout
from stream_rnn.model.model import Horizon
from stream_rnn.preprocess import Missing, Preprocess
from stream_rnn.recordings.table import Recording

SHARDS = 2
"""Parts of a batch, each with random numbers of its own: bits do not depend on the number of cores."""

Freeze: TypeAlias = Literal["nothing", "cells"]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fit may be told. The defaults suit a few minutes of spike counts or EMG features.

    Attributes:
        seed: Of the weights, the windows and the dropout.
        cell: Recurrent cell.
        layers: Recurrent layers.
        units: Hidden units of each layer.
        bin_ms: Counting interval, rounded to whole samples.
        window_s: Length of a training window: how far the gradient goes back in time.
        dropout: Share of inputs, and of hidden units before the readout, set to zero while training.
        epochs: Passes over the training rows.
        batch: Windows to an update.
        learning_rate: Of Adam at the start; half a cosine brings it to nothing.
        weight_decay: Share of a weight that an update of rate 1 would take off.
        clip: Largest norm of the gradient.
        validation: Share of the training rows, the last ones, that only choose the epoch.
        horizon: Samples between the last one seen and the one whose target is predicted; below 0 it is past.
        missing: Policy for missing features, kept in the model.
        readout: Activation of the outputs.
        statistics: What is computed of each channel over a bin.
        logarithm: Whether the natural logarithm of each is taken.
        prior_s: As how many seconds the training rows count beside a stream's own, by whose mean and
            deviation each feature is given a second time; 0: it is not.
        patience: Epochs without a better validation R2 after which the fit ends; 0: it does not.
        balance: Whether windows of rare targets are drawn as often as those of common ones.
        freeze: What keeps its weights: nothing, or all but the readout.
    """

    seed: int
    cell: CellName = "gru"
    layers: Count = 2
    units: Count = 128
    bin_ms: Positive = 40.0
    window_s: Positive = 4.0
    dropout: Share = 0.5
    epochs: Count = 100
    batch: Annotated[int, msgspec.Meta(ge=SHARDS)] = 16
    learning_rate: Positive = 3e-3
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 1e-3
    clip: Positive = 1.0
    validation: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.15
    horizon: Horizon = 0
    missing: Missing = "hold"
    readout: Readout = "linear"
    statistics: Annotated[tuple[Statistic, ...], msgspec.Meta(min_length=1)] = ("sum",)
    logarithm: bool = False
    prior_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    patience: Annotated[int, msgspec.Meta(ge=0)] = 0
    balance: bool = False
    freeze: Freeze = "nothing"


class Described(Protocol):
    """Options that say what is computed of the samples, whatever is fitted to it."""

    @property
    def missing(self) -> Missing:
        """Policy for missing features."""
        ...

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """What is computed of each channel over a bin."""
        ...

    @property
    def logarithm(self) -> bool:
        """Whether the logarithm of each is taken."""
        ...

    @property
    def prior_s(self) -> float:
        """As how many seconds the training rows count beside a stream's own; 0: they alone normalise."""
        ...


def unscaled(recording: Recording, bin_ms: float, options: Described) -> Preprocess:
    """The preprocessing that options ask for; mean and deviation are yet to be measured.

    Args:
        recording: Of the channels and the rate.
        bin_ms: Counting interval, rounded to whole samples.
        options: What is computed.

    Raises:
        ConfigError: A policy that needs what these features do not tell.
    """
    if options.missing == "mean" and (options.logarithm or options.statistics[0] != "sum"):
        raise ConfigError(
            "missing: expected hold, zero or fail where features are no sums of samples, got mean"
        )
    return Preprocess.unscaled(
        recording.x.shape[1],
        max(1, round(bin_ms * recording.rate_hz / 1000)),
        options.missing,
        options.statistics,
        logarithm=options.logarithm,
        prior=round(options.prior_s * recording.rate_hz),
    )
