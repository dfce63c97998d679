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
from stream_rnn.cli.train_options import choices_of, configure_options, flag_of, options_of, shown
from stream_rnn.cli.train_progress import fit_progress
from stream_rnn.cli.train_tell import check_writable, kept, scored, show
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.model.model import Provenance
from stream_rnn.recordings.table import Recording
from stream_rnn.training import baselines
from stream_rnn.training.checkpoint import Keeper
from stream_rnn.training.fit import Fitted, fit
from stream_rnn.training.lag import Lag, choose_lag
from stream_rnn.training.options import Options
from stream_rnn.training.search import SPACE, Trial, search


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
        help="what to fit; the linear ones, wiener and kalman, take --validation, --horizon and --missing, "
        "and choose all else by validation (network)",
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
    if args.decoder != "network":
        return _run_linear(args, recordings, options)
    for choice in chosen:
        print(f"{flag_of(choice.name)} {shown(choice.value)}: {choice.reason}", file=sys.stderr)
    lag = choose_lag(recordings, options) if args.lag == "auto" else None
    if lag is not None:
        _tell_lag(lag, recordings[0].rate_hz)
        options = msgspec.structs.replace(options, horizon=lag.rows)
    began = time.monotonic()
    if args.search:
        fitted = _searched(args, recordings, options)
    else:
        with fit_progress(Console(stderr=True)) as progress:
            fitted = fit(recordings, options, progress, parent=parent, keeper=keeper)
    seconds = round(time.monotonic() - began, 2)
    scores = scored(fitted.model, recordings)
    lags: Provenance = (
        {} if lag is None else {"lag_validation_r2": [f"{n}: {r2:.4f}" for n, r2 in lag.scores.items()]}
    )
    model = kept(fitted.model, scores, lags)
    save_model(model, args.output)
    keeper.remove()
    report: dict[str, Any] = {
        "model": str(args.output),
        "hash": model.hash,
        "decoder": args.decoder,
        "seed": options.seed,
        "test": scores,
        "validation": {"r2_mean": fitted.history[-1].best_r2},
        "seconds": seconds,
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        **({} if parent is None else {"fine_tuned_from": parent.hash}),
        **({} if lag is None else {"lag": {"samples": lag.rows, "validation_r2": lag.scores}}),
    }
    how = f"best epoch {fitted.best_epoch} of {len(fitted.history)}, seed {options.seed}"
    show(args, report, scores, recordings, how)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: An option that does not go with another.
    """
    if args.each is not None and (args.fine_tune is None or args.resume):
        what = "--fine-tune" if args.fine_tune is None else "no --resume"
        raise ConfigError(
            f"--each: expected {what} beside it, got {'none' if args.fine_tune is None else 'it'}"
        )
    if args.search < 0:
        raise ConfigError(f"--search: expected trials, 0 or more, got {args.search}")
    others = {"--fine-tune": args.fine_tune is not None, "--resume": args.resume}
    whole = {"--decoder": args.decoder != "network", "--search": args.search > 0}
    for flag, told in whole.items():
        for other, too in (others | (whole if flag == "--decoder" else {})).items():
            if told and too and other != flag:
                raise ConfigError(f"{flag}: expected no {other} beside it, got both")


def _run_linear(args: argparse.Namespace, recordings: list[Recording], options: Options) -> int:
    """Fit a linear decoder, write, measure, report."""
    began = time.monotonic()
    fitted = baselines.FITS[args.decoder](
        recordings,
        baselines.Options(
            validation=options.validation,
            horizon=options.horizon,
            missing=options.missing,
            statistics=options.statistics,
            logarithm=options.logarithm,
            prior_s=options.prior_s,
        ),
    )
    seconds = round(time.monotonic() - began, 2)
    scores = scored(fitted.model, recordings)
    model = kept(fitted.model, scores, {})
    save_model(model, args.output)
    report: dict[str, Any] = {
        "model": str(args.output),
        "hash": model.hash,
        "decoder": args.decoder,
        "test": scores,
        "validation": {"r2_mean": fitted.choice.validation_r2},
        "chosen": fitted.choice.settings,
        "seconds": seconds,
    }
    show(args, report, scores, recordings, f"{args.decoder}, {fitted.choice}")
    return 0


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


def _tell_lag(lag: Lag, rate_hz: float) -> None:
    tried = sorted(lag.scores)
    shown = [rows for rows in tried if rows in {tried[0], 0, lag.rows, tried[-1]} or rows % 5 == 0]
    scores = ", ".join(f"{rows}: {lag.scores[rows]:.3f}" for rows in shown)
    print(
        f"lag {lag.rows} samples ({1000 * lag.rows / rate_hz:g} ms); "
        f"validation R2 of a straight line by lag: {scores}",
        file=sys.stderr,
    )
