"""Everything that a report tells, measured once. Numbers only."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from stream_rnn.model.model import Card, Channel, Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording, Span
from stream_rnn.report.ablation import Ablation, ablate
from stream_rnn.report.errors_by import Lags, Profile, RecordingScore, by_recording, lags, profiles
from stream_rnn.report.paths import Paths, paths_of
from stream_rnn.report.pieces import F64, pieces_of, seconds_of, typical
from stream_rnn.training.evaluate import Choice, Decoded, Scores, score


class History(NamedTuple):
    """How a fit went: of each epoch its loss and its R2 on the validation rows; the epoch that was kept."""

    loss: list[float]
    validation_r2: list[float]
    best: int


class Findings(NamedTuple):
    """What was measured.

    Attributes:
        model: The model.
        recording: What it was measured on.
        choice: Which rows of it.
        decoded: Predictions and truth of these.
        pieces: Where they follow each other.
        t: Seconds of each, (N,).
        shown: The stretch of them that is shown closely.
        decoders: Scores by name: the network's, and those of others on the same rows.
        lags: Fit of predictions moved in time.
        profiles: Errors by what the truth does.
        recordings: Scores of each recording.
        paths: Predictions in the plane.
        ablation: What each input is worth.
        history: How the fit went; none where the model does not tell.
    """

    model: Model
    recording: Recording
    choice: Choice
    decoded: Decoded
    pieces: list[Span]
    t: F64
    shown: slice
    decoders: list[tuple[str, Scores]]
    lags: Lags
    profiles: list[Profile]
    recordings: list[RecordingScore]
    paths: Paths
    ablation: Ablation
    history: History | None

    @property
    def outputs(self) -> tuple[Channel, ...]:
        """What is predicted."""
        return self.model.card.outputs

    @property
    def scores(self) -> Scores:
        """The network's."""
        return self.decoders[0][1]


def find(
    predictor: Predictor,
    recording: Recording,
    decoded: Decoded,
    choice: Choice,
    *,
    others: Sequence[tuple[str, Scores]] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> Findings:
    """Measure everything.

    Args:
        predictor: The model.
        recording: What was decoded.
        decoded: How.
        choice: Which rows of it.
        others: Scores of other decoders on the same rows, by name.
        progress: Told how many inputs were left out so far.

    Raises:
        RecordingError: There is no target at all.
    """
    outputs, rate_hz = predictor.model.card.outputs, recording.rate_hz
    scores = score(decoded, tuple(output.name for output in outputs))
    pieces = pieces_of(decoded, recording)
    return Findings(
        model=predictor.model,
        recording=recording,
        choice=choice,
        decoded=decoded,
        pieces=pieces,
        t=seconds_of(decoded, pieces, rate_hz),
        shown=typical(decoded, rate_hz),
        decoders=[(network_name(predictor.model.card), scores), *others],
        lags=lags(decoded, pieces, rate_hz),
        profiles=profiles(decoded, pieces, outputs, rate_hz),
        recordings=by_recording(decoded, pieces),
        paths=paths_of(decoded, pieces, outputs, rate_hz),
        ablation=ablate(predictor, recording, decoded, pieces, progress),
        history=history_of(predictor.model.card),
    )


def network_name(card: Card) -> str:
    """As in a table of decoders: `this network (gru 128 x 2)`."""
    layers = [f"{layer.cell} {layer.units}" for layer in card.architecture.layers]
    same = len(set(layers)) == 1 and len(layers) > 1
    what = f"{layers[0]} x {len(layers)}" if same else ", ".join(layers)
    members = card.architecture.networks
    return f"these {members} networks ({what})" if members > 1 else f"this network ({what})"


def history_of(card: Card) -> History | None:
    """What a card tells of its fit; none where it tells nothing, or something else."""
    told = card.provenance
    columns = []
    for name in ("history_loss", "history_validation_r2"):
        values = told.get(name)
        if not isinstance(values, list) or not values:
            return None
        columns.append([float("nan") if v is None or isinstance(v, str) else float(v) for v in values])
    best = told.get("best_epoch")
    if len(columns[0]) != len(columns[1]):
        return None
    return History(columns[0], columns[1], best if isinstance(best, int) else 0)
