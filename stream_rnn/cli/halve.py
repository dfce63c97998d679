"""`stream-rnn halve`: round a model's weights to bfloat16, and say what that changes."""

import argparse
from pathlib import Path

import msgspec
import numpy as np

from stream_rnn.errors import ConfigError
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
    compared = _compared(whole, half, args.data)
    if args.json:
        report = {"model": half.hash, "of": whole.hash, **msgspec.structs.asdict(compared)}
        print(msgspec.json.encode(report).decode())
        return 0
    print(f"{args.output}: model {half.hash}, the weights of {whole.hash} rounded to bfloat16")
    for name, difference in compared.largest_difference.items():
        print(f"  {name}: differs by at most {difference:.3g} over {compared.rows} rows")
    if None not in {compared.r2_before, compared.r2_now}:
        print(f"  mean R2 {compared.r2_before:.4f} before, {compared.r2_now:.4f} now")
    return 0


class Compared(msgspec.Struct, frozen=True):
    """What rounding changed: of each output over some rows, and of the scores where there is a truth."""

    rows: int
    largest_difference: dict[str, float]
    r2_before: float | None = None
    r2_now: float | None = None


def _compared(whole: Predictor, half: Predictor, data: Path | None) -> Compared:
    outputs, scores = whole.model.card.outputs, list[float | None]()
    if data is None:
        xs = _random(whole.model, ROWS)
        ys = whole.run(xs), half.run(xs)
    else:
        recording = read_table(data)
        decoded = [decode(predictor, recording, "test") for predictor in (whole, half)]
        names = tuple(output.name for output in outputs)
        ys = decoded[0].y, decoded[1].y
        scores = [score(one, names).r2_mean for one in decoded]
    largest = np.abs(ys[0] - ys[1]).max(axis=0)
    differences = {
        f"{output.name} ({output.unit})" if output.unit else output.name: float(difference)
        for output, difference in zip(outputs, largest, strict=True)
    }
    return Compared(len(ys[0]), differences, *scores)


def _random(model: Model, count: int) -> F32:
    """Samples drawn around the model's own mean, (count, C).

    Raises:
        ConfigError: Its features do not tell what samples look like.
    """
    if not model.preprocess.plain:
        raise ConfigError(f"model {model.hash}: expected --data, since its features are no sums of samples")
    rng = np.random.default_rng(SEED)
    size = model.card.bin
    spread = rng.standard_normal((count, len(model.mean))) * model.std / np.sqrt(size)
    xs: F32 = (model.mean / size + spread).astype(np.float32)
    return xs
