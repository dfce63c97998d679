"""`stream-rnn train`: fit a decoder to recordings, and measure it on their test rows."""

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numba
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stream_rnn import __version__
from stream_rnn.cli.evaluate import scores_table
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording, read_table
from stream_rnn.training import baselines
from stream_rnn.training.evaluate import Scores, decode, merge, score
from stream_rnn.training.fit import Epoch, Fitted, Options, fit

DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Options)}
CHOICES = {
    "cell": ("elman", "gru", "lstm"),
    "missing": ("hold", "mean", "zero", "fail"),
    "readout": ("linear", "tanh", "sigmoid", "softmax"),
}
HELP = {
    "cell": "recurrent cell",
    "layers": "recurrent layers",
    "units": "hidden units of each layer",
    "bin_ms": "counting interval in milliseconds, rounded to whole samples",
    "window_s": "seconds that the gradient goes back in time",
    "dropout": "share of inputs and of hidden units before the readout that is dropped while training",
    "epochs": "passes over the training rows; the best one by validation is kept",
    "batch": "windows to an update",
    "learning_rate": "of Adam at the start; half a cosine brings it to nothing",
    "weight_decay": "of all weights but the biases",
    "clip": "largest norm of the gradient",
    "validation": "share of the training rows, the last ones, that only choose the epoch",
    "horizon": "samples between the last one seen and the one predicted",
    "missing": "what stands in for a missing feature; kept in the model",
    "readout": "activation of the outputs",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "recording", nargs="+", type=Path, help="table recording (.npz); several are one data set"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="model file to write"
    )
    parser.add_argument(
        "--decoder",
        choices=("network", *baselines.FITS),
        default="network",
        help="what to fit; the linear ones, wiener and kalman, take --validation, --horizon and --missing, "
        "and choose all else by validation (network)",
    )
    parser.add_argument(
        "--seed", type=int, help="of weights, windows and dropout; drawn and shown if not given"
    )
    for name, text in HELP.items():
        default = DEFAULTS[name]
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            choices=CHOICES.get(name),
            metavar=None if name in CHOICES else name.rpartition("_")[2].upper(),
            help=f"{text} ({default})",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Fit, write, measure, report."""
    options = _options(args)
    recordings = [read_table(path) for path in args.recording]
    _check_writable(args.output)
    console = Console(stderr=True)
    began = time.monotonic()
    fitted: Fitted | baselines.Baseline
    if args.decoder == "network":
        with _progress(console) as progress:
            fitted = fit(recordings, options, progress)
    else:
        fitted = baselines.FITS[args.decoder](recordings, _linear(options))
    seconds = time.monotonic() - began
    predictor = Predictor(fitted.model)
    names = recordings[0].y_names
    tested = [recording for recording in recordings if recording.is_test.any()]
    scores = (
        score(merge([decode(predictor, recording, "test") for recording in tested]), names)
        if tested
        else None
    )
    model = _with_provenance(fitted.model, scores, seconds)
    save_model(model, args.output)
    report = {
        "model": str(args.output),
        "hash": model.hash,
        "decoder": args.decoder,
        "test": scores,
        "seconds": round(seconds, 2),
        **_how(fitted, options),
    }
    if args.json:
        print(msgspec.json.encode(report).decode())
    else:
        _show(report, scores, recordings, model.hash)
    return 0


def _options(args: argparse.Namespace) -> Options:
    values = {name: getattr(args, name) for name in HELP}
    values["seed"] = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    try:
        return msgspec.convert(values, Options)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").replace("_", "-")
        raise ConfigError(
            f"--{name}: {message[0].lower()}{message[1:]}, got {values[where.rstrip('`')]}"
        ) from None


def _linear(options: Options) -> baselines.Options:
    return baselines.Options(
        validation=options.validation,
        horizon=options.horizon,
        missing=options.missing,
        statistics=options.statistics,
        logarithm=options.logarithm,
    )


def _how(fitted: Fitted | baselines.Baseline, options: Options) -> dict[str, object]:
    """What the fit came to, for the report."""
    if isinstance(fitted, baselines.Baseline):
        return {
            "validation": {"r2_mean": fitted.choice.validation_r2},
            "chosen": fitted.choice.settings,
        }
    return {
        "seed": options.seed,
        "validation": {"r2_mean": max(epoch.validation_r2 for epoch in fitted.history)},
        "epochs": options.epochs,
        "best_epoch": fitted.best_epoch,
    }


def _check_writable(path: Path) -> None:
    """Find out before the work, not after it."""
    try:
        part = path.with_name(path.name + ".part")
        part.touch()
        part.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: expected a place to write the model, got {error.strerror}") from None


def _with_provenance(model: Model, scores: Scores | None, seconds: float) -> Model:
    """The model with what is known now: versions, time, test score."""
    provenance = {
        **model.card.provenance,
        "stream_rnn": __version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "seconds": round(seconds, 1),
        "test_r2_mean": None if scores is None or scores.r2_mean is None else round(scores.r2_mean, 6),
    }
    card = msgspec.structs.replace(model.card, provenance=provenance)
    return msgspec.structs.replace(model, card=card)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[Epoch], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on standard error."""
    if not console.is_terminal:
        yield _tell_epoch
        return
    columns = (
        TextColumn("[bold]epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn(
            "loss {task.fields[loss]:.3f}  validation R2 {task.fields[r2]:.3f}  best {task.fields[best]:.3f}"
        ),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fit", total=None, loss=float("nan"), r2=float("nan"), best=float("nan"))

        def show(epoch: Epoch) -> None:
            bar.update(
                task,
                total=epoch.of,
                completed=epoch.number,
                loss=epoch.loss,
                r2=epoch.validation_r2,
                best=epoch.best_r2,
            )

        yield show


def _tell_epoch(epoch: Epoch) -> None:
    if epoch.number % max(1, epoch.of // 20) == 0 or epoch.number == epoch.of:
        print(
            f"epoch {epoch.number}/{epoch.of}: loss {epoch.loss:.3f}, "
            f"validation R2 {epoch.validation_r2:.3f}, best {epoch.best_r2:.3f}",
            file=sys.stderr,
            flush=True,
        )


def _show(
    report: dict[str, Any], scores: Scores | None, recordings: list[Recording], model_hash: str
) -> None:
    console = Console()
    if scores is not None:
        units = dict(zip(recordings[0].y_names, recordings[0].y_units, strict=True))
        console.print(scores_table(scores, units, "Test rows, one continuous stream"))
    if "chosen" in report:
        chosen = baselines.Choice(report["validation"]["r2_mean"], report["chosen"])
        how = f"{report['decoder']}, {chosen}"
    else:
        how = f"best epoch {report['best_epoch']} of {report['epochs']}, seed {report['seed']}"
    console.print(
        f"{report['model']}: model {model_hash}, {how}, {report['seconds']} s",
        highlight=False,
        soft_wrap=True,
    )
