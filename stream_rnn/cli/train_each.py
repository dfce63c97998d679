"""`stream-rnn train --fine-tune MODEL --each FOLDER`: a model for every recording, and its test scores."""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from stream_rnn.cli.train_progress import TimeLeft, clock_text
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording
from stream_rnn.training.evaluate import Decoded, decode, merge, score
from stream_rnn.training.finetune import Tuned, each_recording, tune_each
from stream_rnn.training.options import Options

UNSAFE = re.compile(r"[^\w.-]+")


class Pair(NamedTuple):
    """What the model it began with and the fine-tuned one predict of the same test rows."""

    before: Decoded
    after: Decoded


class Change(msgspec.Struct, frozen=True):
    """Mean R2 over the outputs, before and after; None where there is none."""

    before: float | None
    after: float | None

    def __str__(self) -> str:
        return " -> ".join("-" if r2 is None else f"{r2:.3f}" for r2 in (self.before, self.after))


class One(msgspec.Struct, frozen=True):
    """What came of one recording; `best_epoch` 0: the model it began with was best."""

    recording: str
    model: str
    hash: str
    best_epoch: int
    test_r2: Change


def run_each(args: argparse.Namespace, parent: Model, recordings: list[Recording], options: Options) -> int:
    """Fine-tune to every recording by itself, write, measure, report."""
    outputs = _outputs([recording.name for recording in each_recording(recordings)], args.each)
    names = recordings[0].y_names
    original = Predictor(parent)
    pairs: list[Pair] = []
    made: list[One] = []
    left = TimeLeft()
    for tuned in tune_each(parent, recordings, options):
        output = outputs[tuned.recording.name]
        save_model(tuned.fitted.model, output)
        change = Change(None, None)
        if tuned.recording.is_test.any():
            pairs.append(_pair(original, tuned))
            change = _pooled(pairs[-1:], names)
        name, model = tuned.recording.name, tuned.fitted.model
        made.append(One(name, str(output), model.hash, tuned.fitted.best_epoch, change))
        _tell(made, len(outputs), left)
    pooled, median = _pooled(pairs, names), _median([one.test_r2 for one in made])
    if args.json:
        report = {
            "fine_tuned_from": parent.hash,
            "seed": options.seed,
            "each": made,
            "pooled": pooled,
            "median": median,
        }
        print(msgspec.json.encode(report).decode())
    else:
        _show(
            made,
            pooled,
            median,
            f"Test rows after those before; model {parent.hash} and fine-tuned, seed {options.seed}",
        )
    return 0


def _tell(made: list[One], of: int, left: TimeLeft) -> None:
    seconds = clock_text(left.after(len(made), of))
    one = made[-1]
    print(
        f"{len(made)}/{of} {one.recording}: test R2 {one.test_r2}, {seconds} left",
        file=sys.stderr,
        flush=True,
    )


def _outputs(names: list[str], folder: Path) -> dict[str, Path]:
    """The model file of every recording.

    Raises:
        ConfigError: Two would be one, or there is no place to write.
    """
    outputs = {name: folder / f"{UNSAFE.sub('_', name)}.safetensors" for name in names}
    if len(set(outputs.values())) < len(names):
        raise ConfigError(f"--each {folder}: expected recordings of different names, got two of one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--each {folder}: expected a folder to write to, got {error.strerror}") from None
    return outputs


def _pair(original: Predictor, tuned: Tuned) -> Pair:
    """Of streams that go on from the training rows: to these a model was fine-tuned."""
    return Pair(
        decode(original, tuned.recording, "test"),
        decode(Predictor(tuned.fitted.model), tuned.recording, "test"),
    )


def _pooled(pairs: list[Pair], names: tuple[str, ...]) -> Change:
    """Over all test rows as one."""
    if not pairs:
        return Change(None, None)
    before, after = (score(merge(list(parts)), names).r2_mean for parts in zip(*pairs, strict=True))
    return Change(before, after)


def _median(changes: list[Change]) -> Change:
    """Over recordings that have a score."""
    known = [(c.before, c.after) for c in changes if c.before is not None and c.after is not None]
    if not known:
        return Change(None, None)
    before, after = np.median(np.array(known), axis=0)
    return Change(float(before), float(after))


def _show(made: list[One], pooled: Change, median: Change, title: str) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("recording")
    table.add_column("R2", justify="right")
    table.add_column("best epoch", justify="right")
    for one in made:
        table.add_row(one.recording, str(one.test_r2), str(one.best_epoch))
    table.add_section()
    table.add_row("pooled", str(pooled), "")
    table.add_row("median", str(median), "")
    Console().print(table)
