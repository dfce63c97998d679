"""Options by trial: a bounded number of fits, judged on the validation rows only; what was tried is kept.

Random search (Bergstra & Bengio 2012) around what the data suggest; the first trial is just that. A trial is
drawn from the seed and its number alone, so that a search that was cut off goes on where it stopped.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_rnn.errors import ConfigError
from stream_rnn.recordings.table import Recording
from stream_rnn.training.checkpoint import about_fit
from stream_rnn.training.fit import Fitted, checked_data, fit
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch

SPACE: dict[str, tuple[Any, ...]] = {
    "cell": ("gru", "lstm"),
    "layers": (1, 2, 3),
    "units": (64, 96, 128, 192, 256),
    "dropout": (0.2, 0.3, 0.4, 0.5, 0.6),
    "window_s": (2.0, 4.0, 8.0),
    "learning_rate": (1e-3, 2e-3, 3e-3, 5e-3),
    "weight_decay": (0.0, 1e-3, 1e-2),
}
"""What is tried of each option that was not given."""
BIN_FACTORS = (0.5, 1.0, 1.5, 2.0)
"""Of the bin that the data suggest."""


class Trial(NamedTuple):
    """What was tried and what it reached: the validation R2."""

    number: int
    options: Options
    validation_r2: float


class _Line(msgspec.Struct, frozen=True):
    """Of the file that keeps what was tried; `data` is the `_mark` of what was fitted."""

    number: int
    options: dict[str, Any]
    validation_r2: float
    data: str


def search(
    recordings: list[Recording],
    options: Options,
    given: frozenset[str],
    trials: int,
    kept: Path,
    tell: Callable[[Trial, Trial], None],
    progress: Callable[[Epoch], None],
) -> tuple[Options, Fitted]:
    """Try options, and give the best ones and their model.

    Args:
        recordings: As for `fit`.
        options: What the data suggest, and what was given.
        given: Names of options that stay as they are.
        trials: How many fits, those of an earlier search with this file among them.
        kept: JSON lines of what was tried.
        tell: Told of every trial and of the best so far.
        progress: Told of every epoch, numbered through all trials.

    Raises:
        RecordingError: The recordings do not fit together, or cannot be trained on.
        ConfigError: The file keeps trials of other data or options.
    """
    mark = _mark(recordings, options, given)
    tried = _earlier(kept, mark)[:trials]
    best, found = max(tried, key=lambda t: t.validation_r2, default=None), None
    for number in range(len(tried), trials):
        drawn = draw(options, given, number)

        def watch(epoch: Epoch, trial: int = number) -> None:
            progress(epoch.among(trial, trials))

        fitted = fit(recordings, drawn, watch)
        trial = Trial(number, drawn, fitted.validation_r2)
        if best is None or trial.validation_r2 > best.validation_r2:
            best, found = trial, fitted
        line = _Line(number, msgspec.to_builtins(drawn), trial.validation_r2, mark)
        with kept.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        tell(trial, best)
    assert best is not None
    if found is None:  # by a search that was cut off
        found = fit(recordings, best.options, lambda epoch: progress(epoch.among(trials, trials + 1)))
    return best.options, found


def draw(options: Options, given: frozenset[str], number: int) -> Options:
    """The options of one trial; of the first, those that are there."""
    if number == 0:
        return options
    rng = np.random.default_rng([options.seed, number])
    changed = {name: values[rng.integers(len(values))] for name, values in SPACE.items()}
    changed["bin_ms"] = options.bin_ms * BIN_FACTORS[rng.integers(len(BIN_FACTORS))]
    return msgspec.structs.replace(options, **{k: v for k, v in changed.items() if k not in given})


def _mark(recordings: list[Recording], options: Options, given: frozenset[str]) -> str:
    """A digest of what trials must have in common to be compared."""
    about = about_fit(recordings, checked_data(recordings, options, None), options, None)
    content = msgspec.json.encode(about | {"given": sorted(given)}, order="deterministic")
    return hashlib.sha256(content).hexdigest()[:16]


def _earlier(kept: Path, mark: str) -> list[Trial]:
    """The trials that a file keeps; a last line that was not finished does not count."""
    trials: list[Trial] = []
    content = kept.read_bytes() if kept.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    for at, raw in enumerate(whole.splitlines(), 1):
        try:
            line = msgspec.json.decode(raw, type=_Line)
            options = msgspec.convert(line.options, Options)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{kept}, line {at}: expected a trial, got {error}") from None
        if line.data != mark:
            raise ConfigError(f"{kept}: expected trials of these data and options, got others: move it away")
        trials.append(Trial(line.number, options, line.validation_r2))
    if len(whole) < len(content):
        kept.write_bytes(whole)
    return trials
