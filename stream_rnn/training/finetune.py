"""Fine-tuning: a model goes on to learn from a little data of a new day, or of each recording its own.

Its channels, preprocessing and architecture are kept; so are its weights where no epoch does better on the
validation rows.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_rnn.model.model import Model
from stream_rnn.recordings.table import Recording
from stream_rnn.training.ensemble import fit_networks
from stream_rnn.training.fit import Fitted, checked_data
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch

KEPT = (
    "cell", "layers", "units", "bin_ms", "horizon", "missing", "readout",
    "statistics", "logarithm", "prior_s",
)  # fmt: skip
"""Options that a model decides itself."""

GENTLE: dict[str, Any] = {"dropout": 0.2, "epochs": 20, "batch": 4, "patience": 8}
"""Options that differ from a first fit's where nothing is told.

Chosen on the validation rows of 16 of 64 EMG recordings of 5 to 69 s, each fine-tuned by itself (pooled R2
and median of the recordings after 16 epochs; .923 and .688 before): rate 3e-3 and dropout .2 .982 and .923,
with dropout .5 .977 and .897; rate 1e-3 .972 and .878, 6e-3 .982 and .919, 1.2e-2 .980 and .892; the
readout alone .959 and .861. Updates are few, so a smaller rate only learns less. Patience 8 loses nothing
pooled, and takes 13 epochs of 20.
"""


class Tuned(NamedTuple):
    """One recording and the model fine-tuned to it."""

    recording: Recording
    fitted: Fitted


def tuning_options(model: Model, seed: int, told: dict[str, Any]) -> Options:
    """How to fine-tune a model.

    Args:
        model: What is fine-tuned.
        seed: Of windows and dropout.
        told: Options by name, none of those that are `KEPT`.
    """
    card = model.card
    layer = card.architecture.layers[0]
    own = {
        "cell": layer.cell,
        "layers": len(card.architecture.layers),
        "units": layer.units,
        "bin_ms": model.bin_ms,
        "horizon": card.horizon,
        "missing": card.missing,
        "readout": card.architecture.readout,
        "statistics": card.statistics,
        "logarithm": card.logarithm,
        "prior_s": card.prior / card.rate_hz,
    }
    return msgspec.convert({**GENTLE, **told, **own, "seed": seed}, Options)


def each_recording(recordings: list[Recording]) -> list[Recording]:
    """Every recording by itself, called by its own name."""
    alone = []
    for several in recordings:
        for span in several.spans():
            rows = slice(span.start, span.stop)
            alone.append(
                msgspec.structs.replace(
                    several,
                    name=span.name,
                    x=several.x[rows],
                    y=several.y[rows],
                    is_test=several.is_test[rows],
                    recording=np.zeros(span.stop - span.start, dtype=np.int32),
                    recording_names=(span.name,),
                )
            )
    return alone


def tune_each(model: Model, recordings: list[Recording], options: Options) -> Iterator[Tuned]:
    """Fine-tune a model to every recording by itself, one after the other.

    Raises:
        RecordingError: One is of other signals, or has nothing to train on.
    """
    alone = each_recording(recordings)
    for recording in alone:  # before the work, not in the midst of it
        checked_data([recording], options, model)
    for recording in alone:
        yield Tuned(recording, fit_networks([recording], options, _tell_nobody, parent=model))


def _tell_nobody(_: Epoch) -> None:
    """A recording is a matter of a second or two."""
