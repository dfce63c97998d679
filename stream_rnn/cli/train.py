"""`stream-rnn train`: fit a network to recordings, and measure it on their test rows."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numba
import numpy as np
from rich.console import Console

from stream_rnn import __version__
from stream_rnn.cli.evaluate import scores_table
from stream_rnn.cli.tables import configure_tables, read_told
from stream_rnn.cli.train_each import run_each
from stream_rnn.cli.train_options import choices_of, configure_options, flag_of, options_of, shown
from stream_rnn.cli.train_progress import fit_progress
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.evaluate import Scores, decode, merge, score
from stream_rnn.training.fit import Fitted, fit
from stream_rnn.training.lag import Lag, choose_lag


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "recording", nargs="+", type=Path, help="table recording (.npz or .csv); several are one data set"
    )
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("-o", "--output", type=Path, metavar="FILE", help="model file to write")
    output.add_argument(
        "--each",
        type=Path,
        metavar="FOLDER",
        help="with --fine-tune: a model for every recording by itself, written there under its name",
    )
    parser.add_argument(
        "--fine-tune",
        type=Path,
        metavar="MODEL",
        help="go on from a model's weights; its channels, preprocessing and architecture are kept",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from FILE.checkpoint, which a killed fit left: the same bits as without the kill",
    )
    configure_tables(parser)
    configure_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Fit, write, measure, report."""
    parent = None if args.fine_tune is None else load_model(args.fine_tune)
    if args.each is not None:
        if parent is None or args.resume:
            what = "--fine-tune" if parent is None else "no --resume"
            raise ConfigError(f"--each: expected {what} beside it, got {'none' if parent is None else 'it'}")
        options = options_of(args, parent, None)
        return run_each(args, parent, [read_told(path, args) for path in args.recording], options)
    keeper = Keeper.beside(args.output, resume=args.resume)
    recordings = [read_told(path, args) for path in args.recording]
    chosen = choices_of(args, recordings) if parent is None else []
    options = options_of(args, parent, keeper, chosen)
    _check_writable(args.output)
    for choice in chosen:
        print(f"{flag_of(choice.name)} {shown(choice.value)}: {choice.reason}", file=sys.stderr)
    lag = choose_lag(recordings, options) if args.lag == "auto" else None
    if lag is not None:
        _tell_lag(lag, recordings[0].rate_hz)
        options = msgspec.structs.replace(options, horizon=lag.rows)
    began = time.monotonic()
    with fit_progress(Console(stderr=True)) as progress:
        fitted = fit(recordings, options, progress, parent=parent, keeper=keeper)
    seconds = time.monotonic() - began
    scores = _test_scores(fitted.model, recordings)
    model = _with_provenance(fitted, scores, lag)
    save_model(model, args.output)
    keeper.remove()
    report: dict[str, Any] = {
        "model": str(args.output),
        "hash": model.hash,
        "seed": options.seed,
        "test": scores,
        "validation": {"r2_mean": fitted.history[-1].best_r2},
        "seconds": round(seconds, 2),
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
        **({} if lag is None else {"lag": {"samples": lag.rows, "validation_r2": lag.scores}}),
    }
    if args.json:
        print(msgspec.json.encode(report).decode())
    else:
        _show(report, scores, recordings, model.hash)
    return 0


def _check_writable(path: Path) -> None:
    """Find out before the work, not after it."""
    try:
        part = path.with_name(path.name + ".part")
        part.touch()
        part.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: expected a place to write the model, got {error.strerror}") from None


def _test_scores(model: Model, recordings: list[Recording]) -> Scores | None:
    """Scores on the test rows of all recordings; None where there are none."""
    tested = [recording for recording in recordings if recording.is_test.any()]
    if not tested:
        return None
    predictor = Predictor(model)
    decoded = merge([decode(predictor, recording, "test") for recording in tested])
    return score(decoded, recordings[0].y_names)


def _with_provenance(fitted: Fitted, scores: Scores | None, lag: Lag | None) -> Model:
    """The model with what is known now: versions, test score, lags; no time, so that its hash repeats."""
    provenance = {
        **fitted.model.card.provenance,
        "stream_rnn": __version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "test_r2_mean": None if scores is None or scores.r2_mean is None else round(scores.r2_mean, 6),
    }
    if lag is not None:
        provenance["lag_validation_r2"] = [f"{rows}: {r2:.4f}" for rows, r2 in lag.scores.items()]
    card = msgspec.structs.replace(fitted.model.card, provenance=provenance)
    return msgspec.structs.replace(fitted.model, card=card)


def _tell_lag(lag: Lag, rate_hz: float) -> None:
    tried = sorted(lag.scores)
    shown = [rows for rows in tried if rows in {tried[0], 0, lag.rows, tried[-1]} or rows % 5 == 0]
    scores = ", ".join(f"{rows}: {lag.scores[rows]:.3f}" for rows in shown)
    print(
        f"lag {lag.rows} samples ({1000 * lag.rows / rate_hz:g} ms); "
        f"validation R2 of a straight line by lag: {scores}",
        file=sys.stderr,
    )


def _show(
    report: dict[str, Any], scores: Scores | None, recordings: list[Recording], model_hash: str
) -> None:
    console = Console()
    if scores is not None:
        units = dict(zip(recordings[0].y_names, recordings[0].y_units, strict=True))
        console.print(scores_table(scores, units, "Test rows, one continuous stream"))
    console.print(
        f"{report['model']}: model {model_hash}, best epoch {report['best_epoch']} of {report['epochs']}, "
        f"seed {report['seed']}, {report['seconds']} s",
        highlight=False,
        soft_wrap=True,
    )
