"""What every fit tells, and what its model keeps of it: scores on the test rows, versions."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numba
import numpy as np
from rich.console import Console

from stream_rnn import __version__
from stream_rnn.cli.evaluate import scores_table
from stream_rnn.cli.train_options import flag_of, shown
from stream_rnn.errors import ConfigError
from stream_rnn.model.model import Model, Provenance
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.training.defaults import Choice
from stream_rnn.training.evaluate import Scores, decode, merge, score
from stream_rnn.training.lag import Lag


class Made(NamedTuple):
    """What came of a fit.

    Attributes:
        model: Fitted.
        facts: What the report says beside its scores.
        how: In words, how it came about.
    """

    model: Model
    facts: dict[str, Any]
    how: str


def check_writable(path: Path) -> None:
    """Find out before the work, not after it.

    Raises:
        ConfigError: There is no place to write to.
    """
    try:
        part = path.with_name(path.name + ".part")
        part.touch()
        part.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: expected a place to write the model, got {error.strerror}") from None


def scored(model: Model, recordings: list[Recording]) -> Scores | None:
    """Scores on the test rows of all recordings; None where there are none."""
    tested = [recording for recording in recordings if recording.is_test.any()]
    if not tested:
        return None
    predictor = Predictor(model)
    decoded = merge([decode(predictor, recording, "test") for recording in tested])
    return score(decoded, recordings[0].y_names)


def tell_choices(chosen: Iterable[Choice]) -> None:
    """Say what was chosen from the data, and why."""
    for choice in chosen:
        print(f"{flag_of(choice.name)} {shown(choice.value)}: {choice.reason}", file=sys.stderr)


def tell_lag(lag: Lag, rate_hz: float) -> None:
    """Say which lag was chosen, and what else scored how."""
    tried = sorted(lag.scores)
    told = [rows for rows in tried if rows in {tried[0], 0, lag.rows, tried[-1]} or rows % 5 == 0]
    scores = ", ".join(f"{rows}: {lag.scores[rows]:.3f}" for rows in told)
    print(
        f"lag {lag.rows} samples ({1000 * lag.rows / rate_hz:g} ms); "
        f"validation R2 of a straight line by lag: {scores}",
        file=sys.stderr,
    )


def kept(model: Model, scores: Scores | None, lag: Lag | None) -> Model:
    """The model with what is known now: versions, test score, lag; no time, so that its hash repeats."""
    lags: Provenance = (
        {} if lag is None else {"lag_validation_r2": [f"{n}: {r2:.4f}" for n, r2 in lag.scores.items()]}
    )
    provenance = {
        **model.card.provenance,
        "stream_rnn": __version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "test_r2_mean": None if scores is None or scores.r2_mean is None else round(scores.r2_mean, 6),
        **lags,
    }
    card = msgspec.structs.replace(model.card, provenance=provenance)
    return msgspec.structs.replace(model, card=card)


def show(
    args: argparse.Namespace,
    report: dict[str, Any],
    scores: Scores | None,
    recordings: list[Recording],
    how: str,
) -> None:
    """Print one JSON object, or a table and a line.

    Args:
        args: Whether it is JSON.
        report: What came of the fit.
        scores: On the test rows.
        recordings: What was fitted.
        how: In words, how it came about.
    """
    if args.json:
        print(msgspec.json.encode(report).decode())
        return
    console = Console()
    if scores is not None:
        units = dict(zip(recordings[0].y_names, recordings[0].y_units, strict=True))
        console.print(scores_table(scores, units, "Test rows, one continuous stream"))
    console.print(
        f"{report['model']}: model {report['hash']}, {how}, {report['seconds']} s",
        highlight=False,
        soft_wrap=True,
    )
