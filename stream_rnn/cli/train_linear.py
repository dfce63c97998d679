"""`stream-rnn train --decoder wiener` and `kalman`: the linear ones."""

import argparse

import msgspec

from stream_rnn.cli.train_options import FEATURES
from stream_rnn.cli.train_tell import Made
from stream_rnn.recordings.table import Recording
from stream_rnn.training import baselines
from stream_rnn.training.options import Options


def fit_linear(args: argparse.Namespace, recordings: list[Recording], options: Options) -> Made:
    """Fit a linear decoder; its bin too is chosen by validation, unless it was told.

    Args:
        args: Which one, and what was told.
        recordings: What to fit it to.
        options: What was told and chosen, as of a network.

    Raises:
        RecordingError: The recordings do not fit together, or have too few rows.
        ConfigError: A policy for missing features that needs what these do not tell.
    """
    taken = {name: getattr(options, name) for name in (*FEATURES, "validation", "horizon")}
    told = baselines.Options(**taken)
    if args.bin_ms is not None:
        told = msgspec.structs.replace(told, bins_ms=(options.bin_ms,))
    model, choice = baselines.FITS[args.decoder](recordings, told)
    facts = {"validation": {"r2_mean": choice.validation_r2}, "chosen": choice.settings}
    return Made(model, facts, f"{args.decoder}, {choice}")
