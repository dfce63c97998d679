"""`stream-rnn train`: fit a decoder to recordings, and measure it on their test rows."""

import argparse
import time
from pathlib import Path
from typing import Any

import msgspec

from stream_rnn.cli.tables import configure_tables, read_told
from stream_rnn.cli.train_each import run_each
from stream_rnn.cli.train_linear import fit_linear
from stream_rnn.cli.train_network import fit_network
from stream_rnn.cli.train_options import (
    FEATURES,
    LINEAR,
    check_linear,
    choices_of,
    configure_options,
    flag_of,
    options_of,
)
from stream_rnn.cli.train_tell import check_writable, kept, scored, show, tell_choices, tell_lag
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.training import baselines
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.lag import choose_lag

MOST_MEMBERS = 64
APART = (
    ("--decoder", "--fine-tune"),
    ("--decoder", "--resume"),
    ("--decoder", "--search"),
    ("--decoder", "--ensemble"),
    ("--search", "--fine-tune"),
    ("--search", "--resume"),
    ("--each", "--resume"),
    ("--ensemble", "--fine-tune"),
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
    parser.add_argument(
        "--ensemble",
        type=int,
        default=1,
        metavar="MEMBERS",
        help="fit so many networks, each seed one more than the last, as one model that answers with their "
        "mean: better, and a step costs so many times as much (1)",
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
    members = args.ensemble if parent is None else parent.card.architecture.networks
    keepers = [Keeper.beside(args.output, resume=args.resume, member=member) for member in range(members)]
    recordings = [read_told(path, args) for path in args.recording]
    chosen = choices_of(args, recordings) if parent is None else []
    options = options_of(args, parent, keepers[0], chosen)
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
        made = fit_network(args, recordings, options, parent, keepers)
    seconds = round(time.monotonic() - began, 2)
    scores = scored(made.model, recordings)
    model = kept(made.model, scores, lag)
    save_model(model, args.output)
    for keeper in [] if linear else keepers:
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
        "--ensemble": args.ensemble != 1,
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
    if not 1 <= args.ensemble <= MOST_MEMBERS:
        raise ConfigError(f"--ensemble: expected members from 1 to {MOST_MEMBERS}, got {args.ensemble}")
    if told["--decoder"]:
        check_linear(args)
