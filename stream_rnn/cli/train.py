"""`stream-rnn train`: fit a decoder to recordings, and measure it on their test rows."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from stream_rnn.cli.tables import configure_tables, read_told
from stream_rnn.cli.train_each import run_each
from stream_rnn.cli.train_linear import fit_linear
from stream_rnn.cli.train_options import (
    FEATURES,
    LINEAR,
    check_linear,
    choices_of,
    configure_options,
    flag_of,
    options_of,
    shown,
)
from stream_rnn.cli.train_progress import fit_progress
from stream_rnn.cli.train_tell import Made, check_writable, kept, scored, show, tell_choices, tell_lag
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.model.model import Model
from stream_rnn.recordings.table import Recording
from stream_rnn.training import baselines
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.fit import Fitted, fit
from stream_rnn.training.lag import choose_lag
from stream_rnn.training.options import Options
from stream_rnn.training.search import SPACE, Trial, search

APART = (
    ("--decoder", "--fine-tune"),
    ("--decoder", "--resume"),
    ("--decoder", "--search"),
    ("--search", "--fine-tune"),
    ("--search", "--resume"),
    ("--each", "--resume"),
    ("--lag", "--horizon"),
)
"""Options that do not go together."""


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
    parser.add_argument(
        "--decoder",
        choices=("network", *baselines.FITS),
        default="network",
        help="what to fit; wiener and kalman are linear: of a network's options they take --lag, "
        f"{', '.join(map(flag_of, LINEAR))}, and choose the rest by validation R2 (network)",
    )
    parser.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="TRIALS",
        help="try so many ways to set what was not told, by validation R2; FILE.trials keeps them, to go on "
        "from there",
    )
    configure_tables(parser)
    configure_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Fit, write, measure, report."""
    _check(args)
    parent = None if args.fine_tune is None else load_model(args.fine_tune)
    if parent is not None and args.each is not None:
        options = options_of(args, parent, None)
        return run_each(args, parent, [read_told(path, args) for path in args.recording], options)
    keeper = Keeper.beside(args.output, resume=args.resume)
    recordings = [read_told(path, args) for path in args.recording]
    chosen = choices_of(args, recordings) if parent is None else []
    options = options_of(args, parent, keeper, chosen)
    check_writable(args.output)
    linear = args.decoder != "network"
    tell_choices(choice for choice in chosen if not linear or choice.name in FEATURES)
    lag = choose_lag(recordings, options) if args.lag == "auto" else None
    if lag is not None:
        tell_lag(lag, recordings[0].rate_hz)
        options = msgspec.structs.replace(options, horizon=lag.rows)
    began = time.monotonic()
    if linear:
        made = fit_linear(args, recordings, options)
    else:
        made = _fit_network(args, recordings, options, parent, keeper)
    seconds = round(time.monotonic() - began, 2)
    scores = scored(made.model, recordings)
    model = kept(made.model, scores, lag)
    save_model(model, args.output)
    if not linear:
        keeper.remove()
    report: dict[str, Any] = {
        "model": str(args.output),
        "hash": model.hash,
        "decoder": args.decoder,
        "test": scores,
        **made.facts,
        "seconds": seconds,
        **({} if lag is None else {"lag": {"samples": lag.rows, "validation_r2": lag.scores}}),
    }
    show(args, report, scores, recordings, made.how)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: An option that does not go with another.
    """
    told = {
        "--decoder": args.decoder != "network",
        "--each": args.each is not None,
        "--fine-tune": args.fine_tune is not None,
        "--horizon": args.horizon is not None,
        "--lag": args.lag is not None,
        "--resume": args.resume,
        "--search": args.search != 0,
    }
    for flag, other in APART:
        if told[flag] and told[other]:
            raise ConfigError(f"{flag}: expected no {other} beside it, got both")
    if told["--each"] and not told["--fine-tune"]:
        raise ConfigError("--each: expected --fine-tune beside it, got none")
    if args.search < 0:
        raise ConfigError(f"--search: expected trials, 0 or more, got {args.search}")
    if told["--decoder"]:
        check_linear(args)


def _fit_network(
    args: argparse.Namespace,
    recordings: list[Recording],
    options: Options,
    parent: Model | None,
    keeper: Keeper,
) -> Made:
    """Fit a network, a bar on a terminal meanwhile."""
    if args.search:
        fitted = _searched(args, recordings, options)
    else:
        with fit_progress(Console(stderr=True)) as progress:
            fitted = fit(recordings, options, progress, parent=parent, keeper=keeper)
    epochs = len(fitted.history)
    facts = {
        "validation": {"r2_mean": fitted.history[-1].best_r2},
        "seed": options.seed,
        "epochs": epochs,
        "best_epoch": fitted.best_epoch,
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
    }
    return Made(fitted.model, facts, f"best epoch {fitted.best_epoch} of {epochs}, seed {options.seed}")


def _searched(args: argparse.Namespace, recordings: list[Recording], options: Options) -> Fitted:
    """The best of so many trials."""
    told = frozenset(name for name in Options.__struct_fields__ if getattr(args, name, None) is not None)
    kept_at = args.output.with_name(args.output.name + ".trials")

    def tell(trial: Trial, best: Trial) -> None:
        tried = ", ".join(
            f"{name} {shown(getattr(trial.options, name))}" for name in (*SPACE, "bin_ms") if name not in told
        )
        print(
            f"trial {trial.number + 1}/{args.search}: {tried}: validation R2 {trial.validation_r2:.3f}, "
            f"best {best.validation_r2:.3f}",
            file=sys.stderr,
        )

    with fit_progress(Console(stderr=True)) as progress:
        return search(recordings, options, told, args.search, kept_at, tell, progress)
