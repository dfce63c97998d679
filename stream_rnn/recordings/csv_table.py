"""Table recordings as CSV, and the one way in for both kinds of table file.

The first line names the columns; those of these names have a meaning of their own:

| column | meaning | if absent |
|---|---|---|
| `time` or `t_s`, `t_ns` | seconds, or epoch nanoseconds; the rate follows from it | the rate is told |
| `y:NAME` | the target NAME; so is a column of another name, where it is told to be one | no targets |
| `recording` or `stream` | name of the recording a row is of; equal names lie side by side | one |
| `is_test` | 1 where a row is kept for testing, else 0 | the last 20 % of each recording are |
| `seq` | left alone | |

Every other column is a feature. An empty cell, `nan` or `NaN` marks a missing value.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.table import Recording, read_table, recording_of

SECONDS = {"time": 1.0, "t_s": 1.0, "t_ns": 1e-9}
"""Columns that tell the time, and how many seconds one of them is."""
NAMES = ("recording", "stream")
MEANT = (*SECONDS, *NAMES, "is_test", "seq")
TARGET = "y:"
UNEVEN = 0.5
"""Share of an interval by which one may differ: more, and a row is missing."""
DIGITS = 6  # of a rate that follows from times: they are rounded


class Columns(NamedTuple):
    """What is in which column.

    Attributes:
        header: Every name.
        features: Places of the features.
        targets: Places of the targets.
        at: Place of each column with a meaning of its own.
    """

    header: list[str]
    features: list[int]
    targets: list[int]
    at: dict[str, int]


def read_recording(
    path: str | Path, *, targets: Sequence[str] = (), rate_hz: float | None = None
) -> Recording:
    """Read a table recording, `.npz` or `.csv`.

    Args:
        path: The file.
        targets: Columns of a CSV that are targets, beside those called `y:NAME`.
        rate_hz: Rows a second of a CSV; else by its times.

    Raises:
        RecordingError: The file is missing, damaged, or of another kind, or its parts do not fit together.
    """
    where = Path(path)
    if where.suffix.lower() == ".csv":
        return read_csv(where, targets=targets, rate_hz=rate_hz)
    if targets or rate_hz is not None:
        what = "targets" if targets else "a rate"
        raise RecordingError(
            f"recording {where}: expected a .csv where {what} is told, got another kind of file"
        )
    return read_table(where)


def read_csv(path: Path, *, targets: Sequence[str] = (), rate_hz: float | None = None) -> Recording:
    """Read a table recording from a CSV file.

    Args:
        path: The file.
        targets: Columns that are targets, beside those called `y:NAME`.
        rate_hz: Rows a second; else by its times.

    Raises:
        RecordingError: The file is missing, or a line of it is no row; it names line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            columns = _columns(next(rows, []), targets, f"recording {path}:1")
            values, names = _values(rows, columns, path)
    except OSError as error:
        raise RecordingError(f"recording {path}: expected a file, got {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise RecordingError(f"recording {path}: expected CSV, got something else") from None
    return _recording(path, columns, values, names, rate_hz)


def _columns(header: list[str], targets: Sequence[str], where: str) -> Columns:
    header = [name.strip() for name in header]
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise RecordingError(f"{where}: expected columns of different names, got {twice[0]!r} twice")
    for name in targets:
        if name not in header:
            raise RecordingError(f"{where}: expected a column {name!r}, got {', '.join(header)[:60]}")
    of_targets = [
        i
        for i, name in enumerate(header)
        if name in targets or (name.startswith(TARGET) and name not in MEANT)
    ]
    features = [i for i, name in enumerate(header) if i not in of_targets and name not in MEANT]
    if not features:
        raise RecordingError(f"{where}: expected a column for each feature, got {', '.join(header)[:60]!r}")
    at = {name: header.index(name) for name in MEANT if name in header}
    return Columns(header, features, of_targets, at)


def _values(rows: Iterable[list[str]], columns: Columns, path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Every cell as a number, (T, columns), those of names as NaN, and the name of each row's recording."""
    named = next((columns.at[name] for name in NAMES if name in columns.at), None)
    skipped = {columns.at[name] for name in (*NAMES, "seq") if name in columns.at}
    found: list[list[float]] = []
    names: list[str] = []
    line = 1
    for line, row in enumerate(rows, start=2):
        if not row:
            continue  # a blank line, as at the end
        if len(row) != len(columns.header):
            raise RecordingError(
                f"recording {path}:{line}: expected {len(columns.header)} columns, got {len(row)}"
            )
        if named is not None:
            names.append(row[named].strip())
        try:
            found.append([float(cell) for cell in row])  # the ordinary row, in a third of the time
        except ValueError:
            found.append(list(_numbers(row, columns, skipped, f"recording {path}:{line}")))
    if not found:
        raise RecordingError(f"recording {path}:{line}: expected rows below the header, got none")
    return np.array(found, dtype=np.float64), names


def _numbers(row: list[str], columns: Columns, skipped: set[int], where: str) -> Iterator[float]:
    for i, cell in enumerate(row):
        if i in skipped or not cell or cell.isspace():
            yield np.nan
            continue
        try:
            yield float(cell)
        except ValueError:
            name = columns.header[i]
            raise RecordingError(f"{where}: column {name}: expected a number, got {cell[:20]!r}") from None


def _recording(
    path: Path, columns: Columns, values: NDArray[np.float64], names: list[str], rate_hz: float | None
) -> Recording:
    where = f"recording {path}"
    arrays: dict[str, NDArray[Any]] = {
        "x": values[:, columns.features],
        "y": values[:, columns.targets],
        "x_names": np.array([columns.header[i] for i in columns.features], dtype=np.str_),
        "y_names": np.array([columns.header[i].removeprefix(TARGET) for i in columns.targets], dtype=np.str_),
    }
    if names:
        known = list(dict.fromkeys(names))
        numbers = {name: number for number, name in enumerate(known)}
        arrays["recording"] = np.array([numbers[name] for name in names], dtype=np.int32)
        arrays["recording_names"] = np.array(known, dtype=np.str_)
    if "is_test" in columns.at:
        arrays["is_test"] = _flags(values[:, columns.at["is_test"]], where)
    rate = _rate(columns, values, arrays.get("recording"), where) if rate_hz is None else rate_hz
    arrays["rate_hz"] = np.array(rate, dtype=np.float64)
    return recording_of(arrays, name=path.stem, where=where)


def _flags(column: NDArray[np.float64], where: str) -> NDArray[np.bool_]:
    wrong = ~np.isin(column, (0.0, 1.0))
    if wrong.any():
        row = int(wrong.argmax())
        raise RecordingError(f"{where}:{row + 2}: column is_test: expected 0 or 1, got {column[row]:g}")
    flags: NDArray[np.bool_] = column == 1.0
    return flags


def _rate(columns: Columns, values: NDArray[np.float64], recording: NDArray[Any] | None, where: str) -> float:
    """Rows a second, by the times; every interval must be the same, but for the rounding of times.

    Raises:
        RecordingError: There are no times, or a row is missing or out of order.
    """
    name = next((name for name in SECONDS if name in columns.at), None)
    if name is None:
        raise RecordingError(f"{where}:1: expected a column time, or a rate, got neither")
    times = (values[:, columns.at[name]] - values[0, columns.at[name]]) * SECONDS[name]
    steps = np.diff(times)
    if recording is not None:
        steps[np.diff(recording) != 0] = np.nan  # from one recording to the next
    if not len(steps):
        raise RecordingError(f"{where}:2: expected a second row to tell the rate by, or a rate, got neither")
    known = steps[np.isfinite(steps)]
    usual = float(np.median(known)) if len(known) else 0.0
    wrong = (np.abs(steps - usual) > UNEVEN * usual) | np.isnan(times[1:])
    if usual <= 0 or wrong.any():
        row = int(wrong.argmax())
        raise RecordingError(
            f"{where}:{row + 3}: column {name}: expected {usual:g} s after the line before, as usual, "
            f"got {steps[row]:g}"
        )
    return float(f"{1.0 / float(np.mean(known)):.{DIGITS}g}")
