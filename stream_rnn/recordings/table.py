"""Table recordings: features and targets as plain arrays in one `.npz`. Knows no clock, no stream, no model.

The arrays of a file, with T rows, D features and K targets:

| array | shape | meaning | if absent |
|---|---|---|---|
| `x` | (T, D) | features; NaN marks a missing channel | refused |
| `rate_hz` | scalar | rows per second | refused |
| `y` | (T, K) | targets | K = 0: good for replay only |
| `x_names`, `y_names` | (D,), (K,) | text | `x0`, `x1`, ... and `y0`, `y1`, ... |
| `x_units`, `y_units` | (D,), (K,), or one for all | text | `''` |
| `recording` | (T,) | which recording a row belongs to; equal numbers lie side by side | one recording |
| `recording_names` | (R,) | text, all different; `recording` counts into it | the numbers themselves |
| `is_test` | (T,) | true where a row is kept for testing | from `train_end` |
| `train_end` | scalar | first test row | the last 20 % of each recording are test rows |

Where both are given, `is_test` counts. Arrays of other names are left alone. Pickled objects are refused.
"""

import itertools
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_rnn.errors import RecordingError
from stream_rnn.sample import F32

Array: TypeAlias = NDArray[Any]
Bools: TypeAlias = NDArray[np.bool_]
I32: TypeAlias = NDArray[np.int32]

ARRAYS = (
    "x", "y", "rate_hz", "x_names", "y_names", "x_units", "y_units",
    "recording", "recording_names", "is_test", "train_end",
)  # fmt: skip

MOST_DEFLATED = 1032
"""Bytes that one byte can stand for in a zip: no more can be true."""
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

# What numpy, zipfile and zlib raise on damaged bytes: seen with each bit-flip, cut and forged header.
_DAMAGED = (
    OSError, ValueError, TypeError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Span(NamedTuple):
    """The rows `start:stop` of one recording."""

    name: str
    start: int
    stop: int


class Recording(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One or more recordings of the same features and targets, row under row.

    Attributes:
        name: What to call the whole; the file's name without its ending.
        x: Features, (T, D).
        y: Targets, (T, K); K = 0 where there are none.
        rate_hz: Rows per second.
        x_names: D names.
        y_names: K names.
        x_units: D units, '' where unknown.
        y_units: K units, '' where unknown.
        is_test: True where a row is kept for testing, (T,).
        recording: Index into `recording_names` of each row, (T,).
        recording_names: One name per recording.
    """

    name: str
    x: F32
    y: F32
    rate_hz: float
    x_names: tuple[str, ...]
    y_names: tuple[str, ...]
    x_units: tuple[str, ...]
    y_units: tuple[str, ...]
    is_test: Bools
    recording: I32
    recording_names: tuple[str, ...]

    def spans(self) -> list[Span]:
        """Where each recording begins and ends, in row order. No hidden state crosses a border."""
        names, numbers = self.recording_names, self.recording
        return [Span(names[numbers[start]], start, stop) for start, stop in _runs(numbers)]


def read_table(path: str | Path) -> Recording:
    """Read a table recording.

    Raises:
        RecordingError: The file is missing, damaged, or its arrays do not fit together.
    """
    where = Path(path)
    try:
        with where.open("rb") as file:  # np.load would leave a file open that it could not read
            arrays = _arrays(file, where)
    except OSError as error:
        raise RecordingError(f"recording {where}: expected an .npz file, got {_reason(error)}") from error
    return recording_of(arrays, name=where.stem, where=f"recording {where}")


def write_table(recording: Recording, path: str | Path) -> None:
    """Write a table recording that `read_table` gives back unchanged, but for the name, which is the file's.

    Raises:
        RecordingError: Its arrays do not fit together, or the file cannot be written.
    """
    where = Path(path)
    texts = ("x_names", "y_names", "x_units", "y_units", "recording_names")
    arrays: dict[str, Array] = {key: np.array(getattr(recording, key), dtype=np.str_) for key in texts}
    arrays |= {key: getattr(recording, key) for key in ("x", "y", "recording", "is_test")}
    arrays["rate_hz"] = np.array(recording.rate_hz, dtype=np.float64)
    recording_of(arrays, name=recording.name, where=f"recording {where}")
    part = where.with_name(f"{where.name}.part")  # a reader never sees half a file
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        part.replace(where)
    except OSError as error:
        raise RecordingError(f"recording {where}: expected a place to write, got {_reason(error)}") from error


def recording_of(arrays: Mapping[str, Array], *, name: str, where: str) -> Recording:
    """Check the arrays of a table against each other and put them together.

    Args:
        arrays: By the names in the table at the top of this module.
        name: What to call the recording.
        where: The subject of every error message.

    Raises:
        RecordingError: An array is absent, of the wrong kind or shape, or out of range.
    """
    for key in ("x", "rate_hz"):
        if key not in arrays:
            raise RecordingError(f"{where}: expected an array {key!r}, got {', '.join(arrays) or 'none'}")
    x = _matrix(arrays["x"], "x", "(T, D)", where)
    T, D = x.shape
    if T == 0 or D == 0:
        raise RecordingError(f"{where}: expected x with rows and columns, got shape {x.shape}")
    y = _matrix(arrays["y"], "y", "(T, K)", where) if "y" in arrays else np.zeros((T, 0), dtype=np.float32)
    if len(y) != T:
        raise RecordingError(f"{where}: expected y of {T} rows, as x has, got {len(y)}")
    K = y.shape[1]
    recording, recording_names = _recordings(arrays, T, name, where)
    return Recording(
        name=name,
        x=x,
        y=y,
        rate_hz=_rate(arrays["rate_hz"], where),
        x_names=_texts(arrays, "x_names", D, where) or tuple(f"x{i}" for i in range(D)),
        y_names=_texts(arrays, "y_names", K, where) or tuple(f"y{i}" for i in range(K)),
        x_units=_texts(arrays, "x_units", D, where) or ("",) * D,
        y_units=_texts(arrays, "y_units", K, where) or ("",) * K,
        is_test=_is_test(arrays, recording, where),
        recording=recording,
        recording_names=recording_names,
    )


def last_fifth(recording: I32) -> Bools:
    """The split where a file names none: true in the last 20 % of each recording, rounded down, (T,)."""
    is_test = np.zeros(len(recording), dtype=np.bool_)
    for start, stop in _runs(recording):
        is_test[stop - (stop - start) // 5 : stop] = True
    return is_test


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _arrays(file: BinaryIO, where: Path) -> dict[str, Array]:
    try:
        loaded = np.load(file, allow_pickle=False)
    except _DAMAGED as error:
        raise RecordingError(f"recording {where}: expected a zip of arrays, got something else") from error
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise RecordingError(f"recording {where}: expected a zip of arrays, got a single array")
    with loaded:
        return {key: _load(loaded, key, where) for key in ARRAYS if key in loaded.files}


def _refuse_more_than_there_is(archive: zipfile.ZipFile, name: str) -> None:
    """Look at what an array says of itself: numpy makes room for that before it reads.

    Raises:
        ValueError: It says more than its bytes can hold.
    """
    if name not in archive.namelist():  # stored without the ending, by another program
        return
    info = archive.getinfo(name)
    if info.file_size > MOST_DEFLATED * info.compress_size:
        raise ValueError(f"{name}: expected at most {MOST_DEFLATED * info.compress_size} bytes")
    with archive.open(info) as member:
        read_header = HEADERS.get(np.lib.format.read_magic(member))
        if read_header is None:
            return  # numpy tells what it does not know
        shape, _, dtype = read_header(member)
    if math.prod(shape) * dtype.itemsize > info.file_size:
        raise ValueError(f"{name}: expected {math.prod(shape)} values, got fewer bytes")


def _load(loaded: np.lib.npyio.NpzFile, key: str, where: Path) -> Array:
    try:
        assert loaded.zip is not None  # it is open
        _refuse_more_than_there_is(loaded.zip, f"{key}.npy")
        array = loaded[key]
    except _DAMAGED as error:
        pickled = isinstance(error, ValueError) and "allow_pickle" in str(error)
        got = "pickled objects, which are refused" if pickled else "a damaged one"
        raise RecordingError(f"recording {where}: expected {key} as a plain array, got {got}") from error
    if not isinstance(array, np.ndarray):  # numpy hands over a foreign zip member as bytes
        raise RecordingError(f"recording {where}: expected {key} as a plain array, got other bytes")
    return array


def _matrix(array: Array, key: str, axes: str, where: str) -> F32:
    if array.dtype.kind not in "fiub":
        raise RecordingError(f"{where}: expected {key} as real numbers, got {array.dtype}")
    if array.ndim != 2:
        raise RecordingError(f"{where}: expected {key} of shape {axes}, got {array.shape}")
    with np.errstate(
        over="ignore"
    ):  # beyond float32 is inf, which the model's policy for missing values meets
        return np.ascontiguousarray(array, dtype=np.float32)


def _scalar(array: Array, key: str, kinds: str, where: str) -> Any:  # noqa: ANN401 - numpy's item() is any
    if array.size != 1 or array.dtype.kind not in kinds:
        raise RecordingError(f"{where}: expected {key} as one number, got {array.dtype} {array.shape}")
    return array.item()


def _rate(array: Array, where: str) -> float:
    rate_hz = float(_scalar(array, "rate_hz", "fiu", where))
    if not 0 < rate_hz < np.inf:
        raise RecordingError(f"{where}: expected rate_hz above 0, got {rate_hz:g}")
    return rate_hz


def _texts(arrays: Mapping[str, Array], key: str, count: int, where: str) -> tuple[str, ...] | None:
    if key not in arrays:
        return None
    array = arrays[key]
    if array.dtype.kind != "U" and array.size:  # an empty list of names is float64 to numpy
        raise RecordingError(f"{where}: expected {key} as text, got {array.dtype}")
    if array.ndim == 0 and key.endswith("_units"):
        return (str(array),) * count
    if array.shape != (count,):
        raise RecordingError(f"{where}: expected {key} of shape ({count},), got {array.shape}")
    return tuple(map(str, array))


def _recordings(arrays: Mapping[str, Array], T: int, name: str, where: str) -> tuple[I32, tuple[str, ...]]:
    """The index of each row's recording, and the names; every name is one piece of rows."""
    numbers = arrays.get("recording", np.zeros(T, dtype=np.int32))
    if numbers.shape != (T,) or numbers.dtype.kind not in "iu":
        raise RecordingError(
            f"{where}: expected recording as integers of shape ({T},), got {numbers.dtype} {numbers.shape}"
        )
    if "recording_names" not in arrays:
        found, index = np.unique(numbers, return_inverse=True)
        names = tuple(map(str, found)) if "recording" in arrays else (name,)
    else:
        names = _texts(arrays, "recording_names", arrays["recording_names"].size, where) or ()
        index = numbers
        outside = (numbers < 0) | (numbers >= len(names))
        if outside.any():
            row = int(outside.argmax())
            raise RecordingError(
                f"{where}: expected recording from 0 to {len(names) - 1}, got {numbers[row]} in row {row}"
            )
    _refuse_pieces(index, names, where)
    return np.ascontiguousarray(index, dtype=np.int32), names


def _refuse_pieces(index: Array, names: tuple[str, ...], where: str) -> None:
    """Two pieces of one name would share a hidden state across the hole between them."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecordingError(f"{where}: expected recording_names that differ, got {twice!r} twice")
    seen = set()
    for start, _ in _runs(index):
        name = names[index[start]]
        if name in seen:
            raise RecordingError(f"{where}: expected unbroken recordings, got {name!r} again in row {start}")
        seen.add(name)


def _is_test(arrays: Mapping[str, Array], recording: I32, where: str) -> Bools:
    T = len(recording)
    if "is_test" in arrays:
        is_test = arrays["is_test"]
        if is_test.shape != (T,) or is_test.dtype.kind not in "biu":
            raise RecordingError(
                f"{where}: expected is_test as bool of shape ({T},), got {is_test.dtype} {is_test.shape}"
            )
        return np.ascontiguousarray(is_test, dtype=np.bool_)
    if "train_end" in arrays:
        train_end = int(_scalar(arrays["train_end"], "train_end", "iu", where))
        if not 0 <= train_end <= T:
            raise RecordingError(f"{where}: expected train_end from 0 to {T}, got {train_end}")
        return np.arange(T) >= train_end
    return last_fifth(recording)


def _runs(numbers: Array) -> list[tuple[int, int]]:
    """Start and stop of every stretch of equal numbers."""
    borders = np.flatnonzero(np.diff(numbers)) + 1
    edges = [0, *borders.tolist(), len(numbers)]
    return list(itertools.pairwise(edges))
