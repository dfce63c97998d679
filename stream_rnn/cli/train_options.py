"""The options of `stream-rnn train`: what each is for, and what was told as one frozen value."""

import argparse
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from stream_rnn.errors import ConfigError
from stream_rnn.features import STATISTIC_CODES
from stream_rnn.model.model import Model
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import Keeper, seed_of
from stream_rnn.training.defaults import Choice, choices
from stream_rnn.training.finetune import GENTLE, KEPT, tuning_options
from stream_rnn.training.options import Options

DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Options)}
CHOICES = {
    "cell": ("elman", "gru", "lstm"),
    "missing": ("hold", "mean", "zero", "fail"),
    "readout": ("linear", "tanh", "sigmoid", "softmax"),
    "freeze": ("nothing", "cells"),
    "logarithm": ("yes", "no"),
}
CHOSEN = ("bin_ms", "window_s", "epochs", "logarithm", "prior_s", "statistics")
"""Chosen from the training rows unless told."""
FEATURES = ("missing", "statistics", "logarithm", "prior_s")
LINEAR = ("bin_ms", *FEATURES, "validation", "horizon")
"""What a linear decoder may be told; all else is a network's."""
HELP = {
    "cell": "recurrent cell",
    "layers": "recurrent layers",
    "units": "hidden units of each layer",
    "bin_ms": "counting interval in milliseconds, rounded to whole samples",
    "window_s": "seconds that the gradient goes back in time",
    "dropout": "share of inputs and of hidden units before the readout that is dropped while training",
    "epochs": "passes over the training rows; the best one by validation is kept",
    "batch": "windows to an update",
    "learning_rate": "of Adam at the start; half a cosine over all epochs brings it to nothing",
    "weight_decay": "of all weights but the biases",
    "clip": "largest norm of the gradient",
    "validation": "share of the training rows, the last ones, that only choose the epoch",
    "horizon": "samples between the last one seen and the one predicted; below 0 it is past",
    "missing": "what stands in for a missing feature; kept in the model",
    "readout": "activation of the outputs",
    "patience": "epochs without a better validation R2 after which the fit ends; 0: it does not, and the "
    "learning rate comes down to nothing as planned",
    "balance": "draw windows of rare targets, as movement in much rest, as often as those of common ones",
    "statistics": "what is computed of each channel over a bin, with commas between: "
    + ", ".join(STATISTIC_CODES),
    "logarithm": "whether the logarithm of that is taken",
    "prior_s": "give each feature a second time, by the stream's own mean and deviation, beside which the "
    "training rows count as so many seconds; 0: do not",
    "freeze": "what keeps its weights: nothing, or the cells, all but the readout",
}


def configure_options(parser: argparse.ArgumentParser) -> None:
    """Describe every option of a fit. What is not told is None: fine-tuning has defaults of its own."""
    parser.add_argument(
        "--seed", type=int, help="of weights, windows and dropout; drawn and shown if not given"
    )
    for name, text in HELP.items():
        default = DEFAULTS[name]
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool) and name not in CHOICES:
            parser.add_argument(flag, action="store_const", const=True, help=f"{text} (off)")
            continue
        gentle = f"; fine-tuning: {GENTLE[name]}" if name in GENTLE else ""
        parser.add_argument(
            flag,
            type=str if name in CHOICES or isinstance(default, tuple) else type(default),
            choices=CHOICES.get(name),
            metavar=None if name in CHOICES else name.rpartition("_")[2].upper(),
            help=f"{text} ({'chosen from the data' if name in CHOSEN else default}{gentle})",
        )
    parser.add_argument(
        "--lag",
        metavar="auto|SAMPLES",
        help="the horizon, where targets trail the inputs, or lead them (below 0); auto: by a straight line "
        "from one bin, scored on the validation rows: it aligns, a network needs no lag to remember",
    )


def choices_of(args: argparse.Namespace, recordings: list[Recording]) -> list[Choice]:
    """What was not told and is chosen from the data."""
    return [choice for choice in choices(recordings) if getattr(args, choice.name) is None]


def options_of(
    args: argparse.Namespace, parent: Model | None, keeper: Keeper | None, chosen: Iterable[Choice] = ()
) -> Options:
    """What was told, what was chosen from the data, and defaults for the rest.

    Raises:
        ConfigError: An option is out of range, or does not go with another.
    """
    told = {name: value for name in HELP if (value := getattr(args, name)) is not None}
    if "logarithm" in told:
        told["logarithm"] = told["logarithm"] == "yes"
    if "statistics" in told:
        told["statistics"] = tuple(told["statistics"].split(","))
    if args.lag not in {None, "auto"}:
        told["horizon"] = _lag(args.lag)
    seed = args.seed
    if seed is None:
        resumed = keeper is not None and keeper.resume
        seed = seed_of(keeper.path) if keeper and resumed else secrets.randbelow(1_000_000)
    if parent is not None:
        _refuse_kept(told, args, parent)
    try:
        if parent is not None:
            return tuning_options(parent, seed, told)
        picked = {choice.name: choice.value for choice in chosen}
        return msgspec.convert({**picked, **told, "seed": seed}, Options)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").partition("[")[0]
        raise ConfigError(
            f"{flag_of(name)}: {message[0].lower()}{message[1:]}, got {shown(told.get(name, seed))}"
        ) from None


def check_linear(args: argparse.Namespace) -> None:
    """Refuse what only a network is told.

    Raises:
        ConfigError: Such an option.
    """
    for name in ("seed", *HELP):
        value = getattr(args, name)
        if name not in LINEAR and value is not None:
            raise ConfigError(
                f"{flag_of(name)}: expected none beside --decoder {args.decoder}, got {shown(value)}"
            )


def flag_of(name: str) -> str:
    """An option as it is told."""
    return f"--{name.replace('_', '-')}"


def shown(value: object) -> str:
    """A value as it is told."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _lag(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--lag: expected auto or a whole number of samples, got {text!r}") from None


def _refuse_kept(told: dict[str, Any], args: argparse.Namespace, parent: Model) -> None:
    for name in KEPT:
        if name in told:
            flag = "--lag" if name == "horizon" and args.lag is not None else f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{flag}: expected none, as model {parent.hash} keeps its own, got {told[name]}"
            )
    if args.lag == "auto":
        raise ConfigError(f"--lag: expected none, as model {parent.hash} keeps its own horizon, got auto")
