"""A table recording comes back as it was written, and a file that does not fit says so in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.table import Recording, last_fifth, read_table, write_table

DATA = Path(__file__).parents[2] / "shared" / "data"


def arrays(**changes: Any) -> dict[str, Any]:
    """Ten rows of three features and two targets; None takes an array away."""
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    given = {"x": x, "y": x[:, :2] / 10, "rate_hz": np.float32(50), **changes}
    return {key: value for key, value in given.items() if value is not None}


def saved(path: Path, **changes: Any) -> Path:
    np.savez(path / "day.npz", **arrays(**changes))
    return path / "day.npz"


def refusal(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        read_table(path)
    message = str(caught.value)
    subject = f"recording {path}: "
    assert message.startswith(subject)
    assert "\n" not in message
    return message.removeprefix(subject)


def full() -> Recording:
    return Recording(
        name="day",
        x=np.array([[1, np.nan], [2, 3], [4, 5]], dtype=np.float32),
        y=np.array([[0.1], [0.2], [0.3]], dtype=np.float32),
        rate_hz=1000 / 3,
        x_names=("biceps", "triceps"),
        y_names=("elbow",),
        x_units=("mV", ""),
        y_units=("°",),
        is_test=np.array([False, True, True]),
        recording=np.array([1, 0, 0], dtype=np.int32),
        recording_names=("walk", "sit"),
    )


def test_written_table_reads_back_bit_for_bit(tmp_path: Path) -> None:
    written = full()
    write_table(written, tmp_path / "day.npz")
    back = read_table(tmp_path / "day.npz")
    for field in msgspec.structs.fields(Recording):
        before, after = getattr(written, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after


def test_table_without_targets_reads_back(tmp_path: Path) -> None:
    first = read_table(saved(tmp_path, y=None))
    write_table(first, tmp_path / "again.npz")
    again = read_table(tmp_path / "again.npz")
    assert first.y.shape == again.y.shape == (10, 0)
    assert again.y_names == again.y_units == ()


def test_bare_arrays_get_plain_names(tmp_path: Path) -> None:
    recording = read_table(saved(tmp_path))
    assert recording.name == "day"
    assert recording.rate_hz == 50.0
    assert recording.x_names == ("x0", "x1", "x2")
    assert recording.y_names == ("y0", "y1")
    assert recording.x_units == ("", "", "")
    assert recording.y_units == ("", "")
    assert recording.recording_names == ("day",)


def test_features_and_targets_become_contiguous_float32(tmp_path: Path) -> None:
    wide = np.asfortranarray(np.ones((10, 3), dtype=np.float64))
    recording = read_table(saved(tmp_path, x=wide, y=np.ones((10, 2), dtype=np.int16)))
    for array in (recording.x, recording.y):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


def test_extra_arrays_are_left_alone(tmp_path: Path) -> None:
    extra = np.array([{"a": 1}], dtype=object)
    assert read_table(saved(tmp_path, notes=extra)).x.shape == (10, 3)


def test_one_unit_stands_for_all_columns(tmp_path: Path) -> None:
    recording = read_table(saved(tmp_path, y_units=np.array("cm/s"), x_units=np.array(["a", "b", "c"])))
    assert recording.y_units == ("cm/s", "cm/s")
    assert recording.x_units == ("a", "b", "c")


def test_last_fifth_of_each_recording_is_test(tmp_path: Path) -> None:
    recording = read_table(saved(tmp_path, recording=np.array([0] * 5 + [1] * 5)))
    assert np.flatnonzero(recording.is_test).tolist() == [4, 9]


def test_last_fifth_rounds_down() -> None:
    assert np.flatnonzero(last_fifth(np.zeros(14, dtype=np.int32))).tolist() == [12, 13]
    assert not last_fifth(np.zeros(4, dtype=np.int32)).any()


@pytest.mark.parametrize("train_end", [0, 7, 10])
def test_rows_from_train_end_are_test(tmp_path: Path, train_end: int) -> None:
    is_test = read_table(saved(tmp_path, train_end=train_end)).is_test
    assert np.flatnonzero(is_test).tolist() == list(range(train_end, 10))


def test_is_test_counts_before_train_end(tmp_path: Path) -> None:
    is_test = np.arange(10) % 2 == 0
    recording = read_table(saved(tmp_path, is_test=is_test, train_end=7))
    np.testing.assert_array_equal(recording.is_test, is_test)


def test_spans_cover_each_recording_in_row_order(tmp_path: Path) -> None:
    recording = read_table(
        saved(tmp_path, recording=np.array([1] * 4 + [0] * 6), recording_names=np.array(["sit", "walk"]))
    )
    assert recording.spans() == [("walk", 0, 4), ("sit", 4, 10)]


def test_recordings_without_names_are_named_by_number(tmp_path: Path) -> None:
    recording = read_table(saved(tmp_path, recording=np.array([70] * 4 + [-5] * 6)))
    assert recording.spans() == [("70", 0, 4), ("-5", 4, 10)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "expected an array 'x', got y, rate_hz"),
        ({"rate_hz": None}, "expected an array 'rate_hz', got x, y"),
        ({"x": np.zeros(10)}, "expected x of shape (T, D), got (10,)"),
        ({"x": np.array(["a"])}, "expected x as real numbers, got <U1"),
        ({"x": np.zeros((0, 3))}, "expected x with rows and columns, got shape (0, 3)"),
        ({"x": np.zeros((10, 0))}, "expected x with rows and columns, got shape (10, 0)"),
        ({"y": np.zeros(10)}, "expected y of shape (T, K), got (10,)"),
        ({"y": np.zeros((9, 2))}, "expected y of 10 rows, as x has, got 9"),
        ({"y": np.zeros((10, 2), dtype=np.complex64)}, "expected y as real numbers, got complex64"),
        ({"rate_hz": 0.0}, "expected rate_hz above 0, got 0"),
        ({"rate_hz": -50}, "expected rate_hz above 0, got -50"),
        ({"rate_hz": np.nan}, "expected rate_hz above 0, got nan"),
        ({"rate_hz": np.zeros(3)}, "expected rate_hz as one number, got float64 (3,)"),
        ({"x_names": np.array(["a", "b"])}, "expected x_names of shape (3,), got (2,)"),
        ({"y_names": np.array("a")}, "expected y_names of shape (2,), got ()"),
        ({"y_names": np.arange(2)}, "expected y_names as text, got int64"),
        ({"y_units": np.array(["cm"] * 3)}, "expected y_units of shape (2,), got (3,)"),
        ({"train_end": 11}, "expected train_end from 0 to 10, got 11"),
        ({"train_end": -1}, "expected train_end from 0 to 10, got -1"),
        ({"train_end": 8.0}, "expected train_end as one number, got float64 ()"),
        ({"is_test": np.ones(9, dtype=bool)}, "expected is_test as bool of shape (10,), got bool (9,)"),
        ({"recording": np.zeros(10)}, "expected recording as integers of shape (10,), got float64 (10,)"),
        (
            {"recording": np.array([0] * 9 + [1]), "recording_names": np.array(["a"])},
            "expected recording from 0 to 0, got 1 in row 9",
        ),
        (
            {"recording": np.array([0] * 4 + [1] * 4 + [0] * 2)},
            "expected unbroken recordings, got '0' again in row 8",
        ),
        ({"recording_names": np.array(["a", "a"])}, "expected recording_names that differ, got 'a' twice"),
        ({"x": np.array([[1, None]])}, "expected x as a plain array, got pickled objects, which are refused"),
    ],
)
def test_misfit_names_expected_and_got(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert refusal(saved(tmp_path, **changes)) == message


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.npz") == "expected an .npz file, got no such file or directory"


def test_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "expected an .npz file, got is a directory"


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04 cut short"])
def test_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "day.npz"
    path.write_bytes(content)
    assert refusal(path) == "expected a zip of arrays, got something else"


def test_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "day.npy"
    np.save(path, np.zeros((10, 3)))
    assert refusal(path) == "expected a zip of arrays, got a single array"


def test_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(17).tobytes())] ^= 1
    path.write_bytes(content)
    assert refusal(path) == "expected x as a plain array, got a damaged one"


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda content: content[:60] + b"(((" + content[63:]],
    ids=["cut", "header"],
)
def test_damaged_file_raises_nothing_but_recording_error(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = saved(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(path).startswith("expected")


def test_misfit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "day.npz"
    with pytest.raises(RecordingError) as caught:
        write_table(msgspec.structs.replace(full(), x_names=("biceps",)), path)
    assert str(caught.value) == f"recording {path}: expected x_names of shape (2,), got (1,)"
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none" / "day.npz"
    with pytest.raises(RecordingError) as caught:
        write_table(full(), path)
    assert str(caught.value) == f"recording {path}: expected a place to write, got no such file or directory"


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings in {DATA}")
def test_real_recordings_read() -> None:
    indy = read_table(DATA / "indy_20160927_04.npz")
    assert (indy.x.shape, indy.y.shape, indy.rate_hz) == ((38936, 30), (38936, 2), 100.0)
    assert int(indy.is_test.argmax()) == 31149
    emg = read_table(DATA / "lower_limb_emg_50hz.npz")
    assert len(emg.spans()) == 64
    assert emg.spans()[-1].stop == len(emg.x)
