"""What `stream-rnn evaluate --baselines` shows: linear decoders of the same rows beside the model."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.table import Table

from stream_rnn.model.model import Card
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.training import baselines
from stream_rnn.training.evaluate import Choice, Scores, decode, score


class Beside(NamedTuple):
    """A linear decoder: what was chosen of it, how well it does, and how long its fit took."""

    chosen: baselines.Choice
    scores: Scores
    seconds: float

    def __str__(self) -> str:
        return f"{self.chosen}, fitted in {self.seconds} s"

    def report(self, rows: Choice) -> dict[str, Any]:
        """For machines."""
        return {**self.chosen._asdict(), rows: self.scores, "seconds": self.seconds}


def decoders_beside(recording: Recording, card: Card, rows: Choice) -> dict[str, Beside]:
    """Linear decoders of the features that a model has, fitted to a recording's training rows, by name.

    Raises:
        RecordingError: It has no training rows, or too few.
    """
    options = baselines.Options(
        horizon=card.horizon,
        missing=card.missing,
        statistics=card.statistics,
        logarithm=card.logarithm,
        prior_s=card.prior / card.rate_hz,
    )
    names = tuple(output.name for output in card.outputs)
    found: dict[str, Beside] = {}
    for decoder, fit in baselines.FITS.items():
        began = time.monotonic()
        fitted = fit([recording], options)
        seconds = round(time.monotonic() - began, 2)
        scores = score(decode(Predictor(fitted.model), recording, rows), names)
        found[decoder] = Beside(fitted.choice, scores, seconds)
    return found


def compared_table(columns: Mapping[str, Scores], units: Mapping[str, str], title: str) -> Table:
    """R2 and root mean squared error of several decoders side by side.

    Args:
        columns: Scores by decoder.
        units: Unit of each output by its name.
        title: Heading.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("output")
    for measure in ("R2", "RMSE"):
        for name in columns:
            table.add_column(f"{measure}\n{name}", justify="right")
    scores = list(columns.values())
    for output, unit in units.items():
        numbers = [one.r2[output] for one in scores] + [one.rmse[output] for one in scores]
        table.add_row(f"{output} {unit}".rstrip(), *map(_number, numbers))
    table.add_section()
    table.add_row("mean", *(_number(one.r2_mean) for one in scores), f"{scores[0].rows} rows")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
