"""`stream-rnn evaluate`: score a model on a recording, streamed sample by sample as the daemon would."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stream_rnn.cli.beside import Beside, compared_table, decoders_beside
from stream_rnn.cli.info import description
from stream_rnn.cli.tables import configure_tables, read_told
from stream_rnn.errors import ConfigError, RecordingError
from stream_rnn.interval import PACE, Interval
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.report.findings import find
from stream_rnn.report.write import Written, check_can_write, write_report
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import Choice, Decoded, Scores, decode, score
from stream_rnn.training.interval import Coverage, Measured, bounds_of, measure


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("recording", type=Path, help="table recording (.npz or .csv)")
    configure_tables(parser)
    parser.add_argument(
        "--rows",
        choices=("test", "train", "all"),
        default="test",
        help="which rows are scored; each recording is streamed from its beginning (test)",
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE.npz",
        help="write the predictions: arrays rows, y, truth; with --coverage y_low and y_high too",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="make prediction intervals that state this coverage, and measure it: as calibrated, and adapted",
    )
    parser.add_argument(
        "--delay",
        type=int,
        metavar="SAMPLES",
        help="samples after which the truth of a prediction adapts the intervals (1 + the model's horizon)",
    )
    parser.add_argument(
        "--pace",
        type=float,
        default=PACE,
        help=f"how far a miss moves an interval, as interval.pace ({PACE})",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write a page about it, index.html, and its figures as PNGs; needs matplotlib",
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="fit a Wiener and a Kalman filter to the recording's training rows, show them beside the model",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Stream, score, report."""
    if args.report is not None:
        check_can_write(args.report)
    predictor = Predictor.load(args.model)
    interval, delay = _interval(args, predictor)
    recording = read_told(args.recording, args)
    decoded = decode(predictor, recording, args.rows)
    outputs = predictor.model.card.outputs
    scores = score(decoded, tuple(output.name for output in outputs))
    bounds = None if interval is None else bounds_of(decoded, interval, delay)
    measured = (
        None
        if interval is None or bounds is None
        else measure(decoded, interval, bounds, delay, tuple(scores.r2))
    )
    if args.predictions is not None:
        _write(decoded, bounds, args.predictions)
    beside = decoders_beside(recording, predictor.model.card, args.rows) if args.baselines else {}
    _tell(args, predictor, recording.name, scores, beside, measured)
    if args.report is not None:
        others = [(name, one.scores) for name, one in beside.items()]
        written = _report(predictor, recording, decoded, args.rows, others, args.report)
        told = f"{written.page}: report, {written.bytes / 1000:.0f} kB, {written.figures} figures beside it"
        print(told, file=sys.stderr if args.json else sys.stdout)
    return 0


def _tell(
    args: argparse.Namespace,
    predictor: Predictor,
    recording: str,
    scores: Scores,
    beside: Mapping[str, Beside],
    measured: Measured | None,
) -> None:
    """Print one JSON object, or tables."""
    if args.json:
        report: dict[str, Any] = {
            "model": predictor.model.hash,
            "recording": recording,
            args.rows: scores,
        }
        if measured is not None:
            report["intervals"] = measured
        if beside:
            report["baselines"] = {name: one.report(args.rows) for name, one in beside.items()}
        print(msgspec.json.encode(report).decode())
    else:
        units = {output.name: output.unit for output in predictor.model.card.outputs}
        title = f"{recording}, {args.rows} rows, model {predictor.model.hash}"
        if beside:
            columns = {"model": scores, **{name: one.scores for name, one in beside.items()}}
            Console().print(compared_table(columns, units, title))
            print(*(f"{name}: {one}" for name, one in beside.items()), sep="\n")
        else:
            Console().print(scores_table(scores, units, title))
        if measured is not None:
            Console().print(coverage_table(measured, units))


def _interval(args: argparse.Namespace, predictor: Predictor) -> tuple[Interval | None, int]:
    """The intervals that are asked for, and after how many samples the truth is known.

    Raises:
        ConfigError: An option that cannot be.
        ModelError: The model was never calibrated.
    """
    delay = 1 + predictor.model.card.horizon if args.delay is None else args.delay
    if delay < 1:
        raise ConfigError(f"--delay: expected at least 1 sample, got {delay}")
    if args.coverage is None:
        return None, delay
    if not 0 < args.coverage < 1:
        raise ConfigError(f"--coverage: expected a share between 0 and 1, got {args.coverage}")
    if not 0 < args.pace <= 1:
        raise ConfigError(f"--pace: expected more than 0 and at most 1, got {args.pace}")
    return Interval(predictor.model.calibration(), args.coverage, args.pace), delay


def coverage_table(measured: Measured, units: Mapping[str, str]) -> Table:
    """Intervals as a table for people.

    Args:
        measured: What they were worth.
        units: Unit of each output by its name.
    """
    title = f"Intervals of coverage {measured.nominal:g}, the truth {measured.delay} samples later"
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("output", "intervals"):
        table.add_column(heading)
    for heading in ("coverage", "width", "score"):
        table.add_column(heading, justify="right")
    for name, fixed in measured.fixed.items():
        for what, how in (("as calibrated", fixed), ("adapted", measured.adapted[name])):
            table.add_row(name, what, *_worth(how, units[name]))
    return table


def _worth(how: Coverage, unit: str) -> list[str]:
    return [_number(how.coverage), *(f"{_number(value)} {unit}".rstrip() for value in (how.width, how.score))]


def _report(
    predictor: Predictor,
    recording: Recording,
    decoded: Decoded,
    choice: Choice,
    others: list[tuple[str, Scores]],
    folder: Path,
) -> Written:
    """Measure what only a report tells, a bar on a terminal meanwhile, and write it."""
    columns = TextColumn("[bold]without each input"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ablation", total=predictor.inputs)

        def progress(done: int) -> None:
            bar.update(task, completed=done)

        found = find(predictor, recording, decoded, choice, others=others, progress=progress)
    return write_report(found, description(predictor.model), folder)


def scores_table(scores: Scores, units: Mapping[str, str], title: str) -> Table:
    """Scores as a table for people.

    Args:
        scores: The scores.
        units: Unit of each output by its name.
        title: Heading.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("output")
    for heading in ("R2", "RMSE", "correlation"):
        table.add_column(heading, justify="right")
    for name, r2 in scores.r2.items():
        rmse = f"{_number(scores.rmse[name])} {units[name]}".rstrip()
        table.add_row(name, _number(r2), rmse, _number(scores.correlation[name]))
    table.add_section()
    table.add_row("mean", _number(scores.r2_mean), f"{scores.rows} rows", "")
    if scores.recordings > 1:
        table.add_row("median recording", _number(scores.r2_median), f"{scores.recordings} recordings", "")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write(decoded: Decoded, bounds: F32 | None, path: Path) -> None:
    arrays = decoded._asdict()
    if bounds is not None:
        arrays |= {"y_low": bounds[:, 0], "y_high": bounds[:, 1]}
    try:
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise RecordingError(f"{path}: expected a place to write predictions, got {error.strerror}") from None
