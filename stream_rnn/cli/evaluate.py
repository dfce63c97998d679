"""`stream-rnn evaluate`: score a model on a recording, streamed sample by sample as the daemon would."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from stream_rnn.cli.beside import compared_table, decoders_beside
from stream_rnn.errors import RecordingError
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import read_table
from stream_rnn.training.evaluate import Decoded, Scores, decode, score


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
        "--baselines",
        action="store_true",
        help="fit a Wiener and a Kalman filter to the recording's training rows, show them beside the model",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Stream, score, report."""
    predictor = Predictor.load(args.model)
    recording = read_table(args.recording)
    decoded = decode(predictor, recording, args.rows)
    outputs = predictor.model.card.outputs
    scores = score(decoded, tuple(output.name for output in outputs))
    if args.predictions is not None:
        _write(decoded, args.predictions)
    beside = decoders_beside(recording, predictor.model.card, args.rows) if args.baselines else {}
    if args.json:
        report: dict[str, Any] = {
            "model": predictor.model.hash,
            "recording": recording.name,
            args.rows: scores,
        }
        if beside:
            report["baselines"] = {name: one.report(args.rows) for name, one in beside.items()}
        print(msgspec.json.encode(report).decode())
    else:
        units = {output.name: output.unit for output in outputs}
        title = f"{recording.name}, {args.rows} rows, model {predictor.model.hash}"
        if beside:
            columns = {"model": scores, **{name: one.scores for name, one in beside.items()}}
            Console().print(compared_table(columns, units, title))
            print(*(f"{name}: {one}" for name, one in beside.items()), sep="\n")
        else:
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
