"""`stream-rnn evaluate`: score a model on a recording, streamed sample by sample as the daemon would."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from stream_rnn.cli.tables import configure_tables, read_told
from stream_rnn.errors import RecordingError
from stream_rnn.predictor import Predictor
from stream_rnn.training.evaluate import Decoded, Scores, decode, score


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("recording", type=Path, help="table recording (.npz or .csv)")
    configure_tables(parser)
    parser.add_argument(
        "--rows",
        choices=("test", "train", "all"),
        default="test",
        help="which rows are streamed, each stretch of them from a fresh state, and scored (test)",
    )
    parser.add_argument(
        "--warm",
        action="store_true",
        help="stream the rows before each stretch too: the model has been there since the recording began",
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE.npz", help="write the predictions: arrays rows, y, truth"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Stream, score, report."""
    predictor = Predictor.load(args.model)
    recording = read_told(args.recording, args)
    decoded = decode(predictor, recording, args.rows, warm=args.warm)
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
    return 0


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
