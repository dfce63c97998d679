"""The fit: from recordings and options to a model, by the best epoch on the validation rows."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from stream_rnn.errors import RecordingError
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import Model, Provenance
from stream_rnn.preprocess import Preprocess
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32
from stream_rnn.training.checkpoint import Keeper, about_fit
from stream_rnn.training.finish import finished
from stream_rnn.training.interval import calibrated
from stream_rnn.training.options import Options, unscaled
from stream_rnn.training.run import Epoch, Run, State
from stream_rnn.training.windows import Data, Rows, features, gather, scale

SHOWN = 60  # characters of a list in an error


class Fitted(NamedTuple):
    """A model and how it came about.

    Attributes:
        model: Of an ensemble the whole.
        history: Every epoch; of an ensemble those that all members saw, as their means.
        best_epoch: Number of the best epoch, 0: what it began with; of an ensemble the members' median.
        validation_r2: Of the model.
        members: Of an ensemble, each by itself.
    """

    model: Model
    history: list[Epoch]
    best_epoch: int
    validation_r2: float
    members: tuple["Fitted", ...] = ()


class Base(NamedTuple):
    """What is decided before the first epoch.

    Attributes:
        architecture: Of the network.
        preprocess: With mean and deviation.
        weights: What a fine-tuning begins with; None: they are drawn.
    """

    architecture: Architecture
    preprocess: Preprocess
    weights: F32 | None


def fit(
    recordings: list[Recording],
    options: Options,
    progress: Callable[[Epoch], None],
    *,
    parent: Model | None = None,
    keeper: Keeper | None = None,
) -> Fitted:
    """Fit a network to the training rows of recordings.

    Args:
        recordings: At least one; their test rows are not looked at.
        options: What to fit, and how.
        progress: Told of every epoch.
        parent: A model of the same signals to go on from: its architecture and preprocessing are kept,
            whatever the options say, and its weights where no epoch is better.
        keeper: Keeps the state of the fit on disk, and may have one to go on from. What it keeps is removed
            by who has saved the model.

    Raises:
        RecordingError: The recordings do not fit together or the parent, or cannot be trained on.
        ConfigError: The options do not fit, or not the checkpoint's.
        ModelError: The checkpoint is damaged.
        StreamRnnError: The loss is no longer a number.
    """
    first = recordings[0]
    data = checked_data(recordings, options, parent)
    base = _anew(first, data, options) if parent is None else _from(parent, first)
    preprocess, bin_rows = base.preprocess, base.preprocess.bin
    steps = max(2, round(options.window_s * first.rate_hz / bin_rows))
    inputs = features(preprocess, data)
    run = Run(base.architecture.plan(), data, inputs, options, steps, bin_rows, base.weights)
    _go_on(run, progress, keeper, recordings, data, options, parent)
    provenance: Provenance = {
        **{f"option_{name}": value for name, value in msgspec.to_builtins(options).items()},
        "training_rows": int(data.train.sum()),
        "validation_rows": int(data.validation.sum()),
        "validation_r2": round(run.best_r2, 6),
        "best_epoch": run.best_epoch,
        **told(run.history),
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
    }
    horizon = _horizon(options, parent)
    model = finished(recordings, data, base.architecture, run.best, preprocess, horizon, provenance)
    return Fitted(calibrated(model, data), run.history, run.best_epoch, run.best_r2)


def told(history: list[Epoch]) -> Provenance:
    """How the fit went, for the card: a number that is none is null."""
    columns = {"loss": [e.loss for e in history], "validation_r2": [e.validation_r2 for e in history]}
    return {
        f"history_{name}": [round(v, 5) if np.isfinite(v) else None for v in values]
        for name, values in columns.items()
    }


def checked_data(recordings: list[Recording], options: Options, parent: Model | None) -> Data:
    """All rows, where they can be trained on.

    Raises:
        RecordingError: The recordings do not fit together or the parent, or have no targets to fit.
    """
    first = recordings[0]
    if parent is not None:
        _from(parent, first)
    data = gather(recordings, _horizon(options, parent), options.validation)
    _check_targets(data, first)
    return data


def _horizon(options: Options, parent: Model | None) -> int:
    return options.horizon if parent is None else parent.card.horizon


def _go_on(
    run: Run,
    progress: Callable[[Epoch], None],
    keeper: Keeper | None,
    recordings: list[Recording],
    data: Data,
    options: Options,
    parent: Model | None,
) -> None:
    """Fit to the end; with a keeper from where it stood, and kept after every epoch."""
    if keeper is None:
        run.go_on(progress, None)
        return
    about = about_fit(recordings, data, options, parent)
    state = keeper.load(about)
    if state is not None:
        run.restore(state)

    def keep(state: State) -> None:
        keeper.keep(about, state)

    run.go_on(progress, keep)


def _anew(first: Recording, data: Data, options: Options) -> Base:
    """Preprocessing by the training rows, an architecture by the options.

    Raises:
        ConfigError: A policy that needs what these features do not tell.
    """
    preprocess = scale(data, unscaled(first, options.bin_ms, options))
    architecture = Architecture(
        inputs=preprocess.inputs,
        layers=(Layer(options.cell, options.units),) * options.layers,
        outputs=first.y.shape[1],
        readout=options.readout,
    )
    return Base(architecture, preprocess, None)


def _from(parent: Model, first: Recording) -> Base:
    """What a model brings.

    Raises:
        RecordingError: It is of other channels, outputs, or another rate.
    """
    card = parent.card
    for what, expected, got in (
        ("channels", [channel.name for channel in card.inputs], list(first.x_names)),
        ("outputs", [channel.name for channel in card.outputs], list(first.y_names)),
        ("rate_hz", card.rate_hz, first.rate_hz),
    ):
        if expected != got:
            shown = f"{str(expected)[:SHOWN]}, got {str(got)[:SHOWN]}"
            raise RecordingError(f"recording {first.name}: expected {what} of model {parent.hash}, {shown}")
    return Base(parent.card.architecture, parent.preprocess, parent.weights)


def _check_targets(data: Data, first: Recording) -> None:
    """Refuse targets that no epoch could be fitted to, or chosen by.

    Raises:
        RecordingError: A target that is never known in the training rows, or none that varies in the
            validation rows.
    """
    for k, name in enumerate(first.y_names):
        if not _known(data, data.train, k):
            raise RecordingError(
                f"recording {first.name}: expected known values of target {name} "
                "in the training rows, got only NaN"
            )
    if not any(_varies(data, k) for k in range(len(first.y_names))):
        rows = int(data.validation.sum())
        raise RecordingError(
            f"recording {first.name}: expected a target that varies in the validation rows, "
            f"got none in {rows} rows"
        )


def _known(data: Data, rows: Rows, k: int) -> bool:
    return bool(np.isfinite(data.y[rows, k]).any())


def _varies(data: Data, k: int) -> bool:
    y = data.y[data.validation, k]
    known = y[np.isfinite(y)]
    return bool(len(known) and known.min() < known.max())
