"""Several fits whose mean decodes better than each: seeds that follow one another, joined to one model.

Their errors are partly independent, as weights, windows and dropout are drawn anew (Hansen & Salamon 1990;
Lakshminarayanan et al. 2017).
"""

from collections.abc import Callable

import msgspec
import numpy as np

from stream_rnn.model.ensemble import joined, members_of
from stream_rnn.model.model import Model, Provenance
from stream_rnn.predictor import with_golden
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.fit import Fitted, checked_data, fit
from stream_rnn.training.interval import calibrated
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch


def fit_networks(
    recordings: list[Recording],
    options: Options,
    progress: Callable[[Epoch], None],
    *,
    members: int = 1,
    parent: Model | None = None,
    keepers: Callable[[int], Keeper | None] = lambda _: None,
) -> Fitted:
    """Fit one network, or the members of an ensemble one after the other.

    Args:
        recordings: As for `fit`.
        options: As for `fit`; each member's seed is one more than the last one's.
        progress: Told of every epoch, numbered through all members.
        members: How many networks; those of a parent stay as many as they are.
        parent: As for `fit`; of an ensemble each member goes on by itself.
        keepers: What keeps the state of the fit of each member, by its number.

    Raises:
        RecordingError: As `fit`.
        ConfigError: Likewise.
        ModelError: Likewise.
        StreamRnnError: Likewise.
    """
    parents: list[Model | None] = [None] * members if parent is None else [*members_of(parent)]
    fitted = []
    for number, one in enumerate(parents):
        seeded = msgspec.structs.replace(options, seed=options.seed + number)
        tell = _numbered(progress, number, len(parents))
        fitted.append(fit(recordings, seeded, tell, parent=one, keeper=keepers(number)))
    return fitted[0] if len(fitted) == 1 else _whole(fitted, recordings, options, parent)


def _numbered(progress: Callable[[Epoch], None], number: int, of: int) -> Callable[[Epoch], None]:
    """Tell the epochs of one member as a part of all."""

    def tell(epoch: Epoch) -> None:
        progress(epoch._replace(number=number * epoch.of + epoch.number, of=of * epoch.of))

    return tell


def _whole(
    fitted: list[Fitted], recordings: list[Recording], options: Options, parent: Model | None
) -> Fitted:
    """The members as one model, with what is measured on it."""
    first = fitted[0].model
    data = checked_data(recordings, options, parent)
    golden = with_golden(joined([one.model for one in fitted]), first.golden_x)
    model, validation_r2 = calibrated(golden, data)
    history = _mean_history([one.history for one in fitted])
    told: Provenance = {
        "members": len(fitted),
        "members_validation_r2": [round(one.validation_r2, 6) for one in fitted],
        "members_best_epoch": [one.best_epoch for one in fitted],
        "validation_r2": round(validation_r2, 6),
        "history_loss": [_rounded(epoch.loss) for epoch in history],
        "history_validation_r2": [_rounded(epoch.validation_r2) for epoch in history],
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
    }
    kept = {name: value for name, value in first.card.provenance.items() if name != "best_epoch"}
    card = msgspec.structs.replace(model.card, provenance={**kept, **told})
    whole = msgspec.structs.replace(model, card=card)
    return Fitted(whole, history, 0, validation_r2, tuple(fitted))


def _mean_history(histories: list[list[Epoch]]) -> list[Epoch]:
    """Epochs that every member saw, as their means."""
    return [
        Epoch(together[0].number, together[0].of, *np.mean([epoch[2:] for epoch in together], axis=0).tolist())
        for together in zip(*histories, strict=False)
    ]


def _rounded(value: float) -> float | None:
    return round(value, 5) if np.isfinite(value) else None
