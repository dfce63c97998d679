"""`stream-rnn halve`: round a model's weights to bfloat16, and say what that changes."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stream_rnn.model.file import load_model, save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor, with_golden
from stream_rnn.recordings.table import read_table
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import decode, score

ROWS, SEED = 1000, 0


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="where to write the other"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="table recording whose test rows both decode; without one, random samples of the model's own "
        "mean and spread",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(args: argparse.Namespace) -> int:
    """Round, write, compare."""
    whole = Predictor.load(args.model)
    rows = whole.model.golden_x if len(whole.model.golden_x) else _random(whole.model, 8)
    model = with_golden(whole.model.rounded(), rows)
    save_model(model, args.output)
    half = Predictor(load_model(args.output))
    report = {"model": half.hash, "of": whole.hash, **_compared(whole, half, args.data)}
    if args.json:
        print(msgspec.json.encode(report).decode())
        return 0
    print(f"{args.output}: model {half.hash}, the weights of {whole.hash} rounded to bfloat16")
    for name, difference in report["largest_difference"].items():
        print(f"  {name}: differs by at most {difference:.3g} over {report['rows']} rows")
    if report["R2"]:
        print(f"  mean R2 {report['R2'][0]:.4f} before, {report['R2'][1]:.4f} now")
    return 0


def _compared(whole: Predictor, half: Predictor, data: Path | None) -> dict[str, Any]:
    """Largest difference of each output over some rows, and the scores where there is a truth."""
    outputs = whole.model.card.outputs
    if data is None:
        xs = _random(whole.model, ROWS)
        ys, scores = (whole.run(xs), half.run(xs)), []
    else:
        recording = read_table(data)
        decoded = [decode(predictor, recording, "test") for predictor in (whole, half)]
        names = tuple(output.name for output in outputs)
        ys, scores = (decoded[0].y, decoded[1].y), [score(one, names).r2_mean for one in decoded]
    largest = np.abs(ys[0] - ys[1]).max(axis=0)
    differences = {
        f"{output.name} ({output.unit})" if output.unit else output.name: float(difference)
        for output, difference in zip(outputs, largest, strict=True)
    }
    return {"rows": len(ys[0]), "largest_difference": differences, "R2": scores}


def _random(model: Model, count: int) -> F32:
    """Samples drawn around the model's own mean, (count, D)."""
    rng = np.random.default_rng(SEED)
    size = model.card.bin
    spread = rng.standard_normal((count, len(model.mean))) * model.std / np.sqrt(size)
    xs: F32 = (model.mean / size + spread).astype(np.float32)
    return xs
