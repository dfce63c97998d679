"""`stream-rnn train` of a network, of an ensemble, or of what a search finds: fitted, and told in words."""

import argparse
import sys

from rich.console import Console

from stream_rnn.cli.train_options import shown
from stream_rnn.cli.train_progress import fit_progress
from stream_rnn.cli.train_tell import Made
from stream_rnn.model.model import Model
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.ensemble import fit_networks
from stream_rnn.training.fit import Fitted
from stream_rnn.training.options import Options
from stream_rnn.training.search import SPACE, Trial, search


def fit_network(
    args: argparse.Namespace,
    recordings: list[Recording],
    options: Options,
    parent: Model | None,
    keepers: list[Keeper],
) -> Made:
    """Fit a network, or the members of an ensemble, a bar on a terminal meanwhile.

    Args:
        args: What was told.
        recordings: What is fitted.
        options: How.
        parent: What a fine-tuning begins with.
        keepers: What keeps the state of the fit of each member.
    """
    begun: list[Fitted] = []
    if args.search:
        options, found = _searched(args, recordings, options)
        begun.append(found)
    with fit_progress(Console(stderr=True)) as progress:
        fitted = fit_networks(
            recordings,
            options,
            progress,
            members=len(keepers),
            parent=parent,
            keepers=keepers.__getitem__,
            begun=begun,
        )
    epochs = len(fitted.history)
    facts = {
        "validation": {"r2_mean": fitted.validation_r2},
        "seed": options.seed,
        "epochs": epochs,
        "best_epoch": fitted.best_epoch,
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
    }
    how = f"best epoch {fitted.best_epoch} of {epochs}, seed {options.seed}"
    if fitted.members:
        facts["members_validation_r2"] = [one.validation_r2 for one in fitted.members]
        alone = [f"{one.validation_r2:.3f}" for one in fitted.members]
        how = (
            f"{len(alone)} members, validation R2 {fitted.validation_r2:.3f} ({', '.join(alone)} alone), "
            f"seeds {options.seed} to {options.seed + len(alone) - 1}"
        )
    return Made(fitted.model, facts, how)


def _searched(
    args: argparse.Namespace, recordings: list[Recording], options: Options
) -> tuple[Options, Fitted]:
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
