"""A CSV table says what an .npz says, and a line that is no row is named with its column."""

from pathlib import Path

import numpy as np
import pytest

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.csv_table import read_recording
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.source import samples_of
from stream_rnn.recordings.table import write_table

FULL = """\
time,recording,biceps,y:elbow,triceps,is_test
0.00,walk,1,10,2,0
0.02,walk,,11,3,0
0.04,walk,3,,4,1
5.00,sit,4,13,5,0
5.02,sit,5,14,nan,1
"""


def saved(folder: Path, text: str) -> Path:
    path = folder / "day.csv"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, **told: object) -> str:
    with pytest.raises(RecordingError) as caught:
        read_recording(path, **told)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(f"recording {path}")
    assert "\n" not in message
    return message.removeprefix(f"recording {path}")


def test_every_column_finds_its_place(tmp_path: Path) -> None:
    recording = read_recording(saved(tmp_path, FULL))
    assert recording.name == "day"
    assert (recording.x_names, recording.y_names) == (("biceps", "triceps"), ("elbow",))
    np.testing.assert_array_equal(recording.x, [[1, 2], [np.nan, 3], [3, 4], [4, 5], [5, np.nan]])
    np.testing.assert_array_equal(recording.y[:, 0], [10, 11, np.nan, 13, 14])
    assert recording.rate_hz == 50.0
    assert recording.spans() == [("walk", 0, 3), ("sit", 3, 5)]
    assert recording.is_test.tolist() == [False, False, True, False, True]


def test_targets_and_rate_can_be_told(tmp_path: Path) -> None:
    path = saved(tmp_path, "a,b,c\n1,2,3\n4,5,6\n")
    recording = read_recording(path, targets=["c", "a"], rate_hz=25.0)
    assert (recording.x_names, recording.y_names, recording.rate_hz) == (("b",), ("a", "c"), 25.0)


def test_same_table_as_csv_and_npz_reads_alike(tmp_path: Path) -> None:
    cortex = simulate(5, 3, seed=1)
    write_table(cortex, tmp_path / "cortex.npz")
    header = ["time", *cortex.x_names, *(f"y:{name}" for name in cortex.y_names)]
    rows = [
        ",".join(map(repr, [t / 100, *map(float, x), *map(float, y)]))
        for t, (x, y) in enumerate(zip(cortex.x, cortex.y, strict=True))
    ]
    text, table = (
        read_recording(path)
        for path in (saved(tmp_path, "\n".join([",".join(header), *rows])), tmp_path / "cortex.npz")
    )
    for name in ("x", "y", "is_test", "recording"):
        np.testing.assert_array_equal(getattr(text, name), getattr(table, name))
    assert (text.rate_hz, text.x_names, text.y_names) == (100.0, table.x_names, table.y_names)


def test_times_that_are_rounded_give_the_rate(tmp_path: Path) -> None:
    rows = "\n".join(f"{t / 60:.4f},{t}" for t in range(600))
    assert read_recording(saved(tmp_path, f"time,a\n{rows}\n")).rate_hz == pytest.approx(60.0, rel=1e-4)


def test_targets_of_a_csv_are_not_replayed(tmp_path: Path) -> None:
    sent = list(samples_of(saved(tmp_path, FULL)))
    assert [(timed.sample.stream, len(timed.sample.x)) for timed in sent] == [("walk", 2)] * 3 + [
        ("sit", 2)
    ] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: expected a column for each feature, got ''"),
        ("time,y:a\n0,1\n", ":1: expected a column for each feature, got 'time, y:a'"),
        ("a,a\n1,2\n", ":1: expected columns of different names, got 'a' twice"),
        ("a,b\n1,2\n", ":1: expected a column time, or a rate, got neither"),
        ("time,a\n", ":1: expected rows below the header, got none"),
        ("time,a\n0,1\n1\n", ":3: expected 2 columns, got 1"),
        ("time,a\n0,1\n1,2\n\n2,left\n", ":5: column a: expected a number, got 'left'"),
        (
            "time,a\n0,1\n1,2\n2,3\n9,4\n",
            ":5: column time: expected 1 s after the line before, as usual, got 7",
        ),
        ("time,a\n0,1\n,2\n2,3\n", ":3: column time: expected 0 s after the line before, as usual, got nan"),
        ("time,a,is_test\n0,1,0\n1,2,7\n", ":3: column is_test: expected 0 or 1, got 7"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(saved(tmp_path, text)) == message


def test_absent_file_and_absent_target_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == ": expected a file, got No such file or directory"
    assert refusal(saved(tmp_path, "a\n1\n"), targets=["v"]) == ":1: expected a column 'v', got a"
    path = tmp_path / "day.npz"
    assert refusal(path, rate_hz=5.0) == ": expected a .csv where a rate is told, got another kind of file"
