"""Several fits whose mean decodes better than each: seeds that follow one another, joined to one model.

Their errors are partly independent, as weights, windows and dropout are drawn anew (Hansen & Salamon 1990;
Lakshminarayanan et al. 2017).
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from stream_rnn.interval import quantiles
from stream_rnn.model.ensemble import joined, members_of
from stream_rnn.model.model import Model, Provenance
from stream_rnn.predictor import with_golden
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.fit import Fitted, checked_data, fit, told
from stream_rnn.training.interval import validated
from stream_rnn.training.options import Options
from stream_rnn.training.r2 import r2_mean
from stream_rnn.training.run import Epoch
from stream_rnn.training.windows import Data


def fit_networks(
    recordings: list[Recording],
    options: Options,
    progress: Callable[[Epoch], None],
    *,
    members: int = 1,
    parent: Model | None = None,
    keepers: Callable[[int], Keeper | None] = lambda _: None,
    begun: Sequence[Fitted] = (),
) -> Fitted:
    """Fit one network, or the members of an ensemble one after the other.

    Args:
        recordings: As for `fit`.
        options: As for `fit`; each member's seed is one more than the last one's.
        progress: Told of every epoch, numbered through all members.
        members: How many networks; those of a parent stay as many as they are.
        parent: As for `fit`; of an ensemble each member goes on by itself.
        keepers: What keeps the state of the fit of each member, by its number.
        begun: The first members, where they are fitted already.

    Raises:
        RecordingError: As `fit`.
        ConfigError: Likewise.
        ModelError: Likewise.
        StreamRnnError: Likewise.
    """
    parents: list[Model | None] = [None] * members if parent is None else [*members_of(parent)]
    fitted = list(begun)
    for number in range(len(fitted), len(parents)):
        seeded = msgspec.structs.replace(options, seed=options.seed + number)

        def tell(epoch: Epoch, member: int = number) -> None:
            progress(epoch.among(member, len(parents)))

        fitted.append(fit(recordings, seeded, tell, parent=parents[number], keeper=keepers(number)))
    if len(fitted) == 1:
        return fitted[0]
    data = checked_data(recordings, options, parents[0])
    return _whole(fitted, data, parent)


def _whole(fitted: list[Fitted], data: Data, parent: Model | None) -> Fitted:
    """The members as one model, with what is measured on it."""
    first = fitted[0].model
    model = with_golden(joined([one.model for one in fitted]), first.golden_x)
    truth, ys = validated(model, data)
    validation_r2 = r2_mean(truth, ys)
    history = _mean_history([one.history for one in fitted])
    best_epoch = round(float(np.median([one.best_epoch for one in fitted])))
    provenance: Provenance = {
        **first.card.provenance,
        "members_validation_r2": [round(one.validation_r2, 6) for one in fitted],
        "validation_r2": round(validation_r2, 6),
        "best_epoch": best_epoch,
        **told(history),
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
    }
    card = msgspec.structs.replace(model.card, provenance=provenance)
    whole = msgspec.structs.replace(model, card=card, residuals=quantiles(truth - ys))
    return Fitted(whole, history, best_epoch, validation_r2, tuple(fitted))


def _mean_history(histories: list[list[Epoch]]) -> list[Epoch]:
    """The epochs that every member saw, as means."""
    return [
        Epoch(epochs[0].number, epochs[0].of, *np.mean([epoch[2:] for epoch in epochs], axis=0).tolist())
        for epochs in zip(*histories, strict=False)
    ]
