"""What every fit tells, and what its model keeps of it: scores on the test rows, versions."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numba
import numpy as np
from rich.console import Console

from stream_rnn import __version__
from stream_rnn.cli.evaluate import scores_table
from stream_rnn.errors import ConfigError
from stream_rnn.model.model import Model, Provenance
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.training.evaluate import Scores, decode, merge, score


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


def kept(model: Model, scores: Scores | None, more: Provenance) -> Model:
    """The model with what is known now: versions, test score; no time, so that its hash repeats."""
    provenance = {
        **model.card.provenance,
        "stream_rnn": __version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "test_r2_mean": None if scores is None or scores.r2_mean is None else round(scores.r2_mean, 6),
        **more,
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
