"""`stream-rnn evaluate`: score a model on a recording, streamed sample by sample as the daemon would."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stream_rnn.cli.info import description
from stream_rnn.errors import RecordingError
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording, read_table
from stream_rnn.report.findings import find
from stream_rnn.report.write import Written, check_can_write, write_report
from stream_rnn.training.evaluate import Choice, Decoded, Scores, decode, score


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("recording", type=Path, help="table recording (.npz)")
    parser.add_argument(
        "--rows",
        choices=("test", "train", "all"),
        default="test",
        help="which rows are streamed, each stretch of them from a fresh state, and scored (test)",
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE.npz", help="write the predictions: arrays rows, y, truth"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write a page about it, index.html, and its figures as PNGs; needs matplotlib",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Stream, score, report."""
    if args.report is not None:
        check_can_write(args.report)
    predictor = Predictor.load(args.model)
    recording = read_table(args.recording)
    decoded = decode(predictor, recording, args.rows)
    outputs = predictor.model.card.outputs
    scores = score(decoded, tuple(output.name for output in outputs))
    if args.predictions is not None:
        _write(decoded, args.predictions)
    if args.json:
        report = {"model": predictor.model.hash, "recording": recording.name, args.rows: scores}
        print(msgspec.json.encode(report).decode())
    else:
        units = {output.name: output.unit for output in outputs}
        title = f"{recording.name}, {args.rows} rows, model {predictor.model.hash}"
        Console().print(scores_table(scores, units, title))
    if args.report is not None:
        written = _report(predictor, recording, decoded, args.rows, args.report)
        told = f"{written.page}: report, {written.bytes / 1000:.0f} kB, {written.figures} figures beside it"
        print(told, file=sys.stderr if args.json else sys.stdout)
    return 0


def _report(
    predictor: Predictor, recording: Recording, decoded: Decoded, choice: Choice, folder: Path
) -> Written:
    """Measure what only a report tells, a bar on a terminal meanwhile, and write it."""
    columns = TextColumn("[bold]without each input"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ablation", total=predictor.inputs)

        def progress(done: int) -> None:
            bar.update(task, completed=done)

        found = find(predictor, recording, decoded, choice, progress=progress)
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
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write(decoded: Decoded, path: Path) -> None:
    try:
        np.savez_compressed(path, rows=decoded.rows, y=decoded.y, truth=decoded.truth)
    except OSError as error:
        raise RecordingError(f"{path}: expected a place to write predictions, got {error.strerror}") from None
