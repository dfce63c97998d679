"""Text recordings: CSV tables, JSON lines, mqtt-recorder's CSV; a bad line is named."""

import base64
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.source import samples_of
from stream_rnn.recordings.text import Timed


def written(folder: Path, text: str, name: str = "left.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def told(timed: list[Timed]) -> list[tuple[str, int | None, int | None, list[float], float]]:
    return [(t.sample.stream, t.sample.seq, t.sample.t_ns, t.sample.x.tolist(), t.offset_s) for t in timed]


def test_csv_has_a_time_and_a_column_for_each_feature(tmp_path: Path) -> None:
    path = written(tmp_path, "t_s,unit0,unit1\n0.5,1,2\n0.51,3,\n")
    first, second = samples_of(path)
    assert told([first]) == [("left", None, 500_000_000, [1, 2], 0)]
    assert second.offset_s == pytest.approx(0.01)
    np.testing.assert_array_equal(second.sample.x, np.array([3, np.nan], np.float32))


def test_csv_may_name_streams_and_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "stream,seq,a,t_ns\nhand,7,1.5,1000000000\nfoot,0,2.5,3000000000\n")
    assert told(list(samples_of(path))) == [
        ("hand", 7, 1_000_000_000, [1.5], 0),
        ("foot", 0, 3_000_000_000, [2.5], 2),
    ]


def test_json_lines_are_the_samples_of_the_wire(tmp_path: Path) -> None:
    lines = '{"t_ns":1000000000,"x":[1,null],"seq":0}\n\n{"t_ns":1500000000,"x":[2,3],"stream":"b"}\n'
    first, second = samples_of(written(tmp_path, lines, "a.jsonl"))
    assert (first.sample.stream, second.sample.stream, second.offset_s) == ("a", "b", 0.5)
    assert np.isnan(first.sample.x[1])


@pytest.mark.parametrize("encode", [str, lambda text: base64.b64encode(text.encode()).decode()])
def test_mqtt_recorder_names_the_stream_by_its_topic(tmp_path: Path, encode) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    rows = [
        ("sensors/a/samples", '{"seq":0,"x":[1,2]}', 10.0),
        ("other", "hello", 10.1),
        ("sensors/b/samples", "[3,4]", 10.25),
    ]
    text = "".join(f'{t},"{encode(p).replace(chr(34), chr(34) * 2)}",0,False,{s},0.1\n' for t, p, s in rows)
    got = told(list(samples_of(written(tmp_path, text))))
    assert got == [("a", 0, None, [1, 2], 0), ("b", None, None, [3, 4], 0.25)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a,b\n1,2\n", ":1: expected a header with t_s or t_ns and a column for each feature, got 'a, b'"),
        ("t_s,a\n1,2\n3\n", ":3: expected 2 columns, got 1"),
        ("t_s,a\n1,x\n", ":2: expected numbers: could not convert string to float"),
        ('{"x":[1]}\n', ":1: expected t_ns in every line, got none"),
        ('{"t_ns":1,"x":[1]}\n{"t_ns":\n', ":2: "),
        ("other,{},0,False,1.0,0.1\n", ": expected topics as 'sensors/{stream}/samples', got 'other'"),
        ("sensors/a/samples,???,0,False,1.0,0.1\n", ":1: expected a payload of json, as text or base64"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, text: str, error: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecordingError) as raised:
        list(samples_of(path))
    assert str(raised.value).startswith(f"recording {path}{error}")


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordingError, match=r"expected \.mcap, \.npz, or text"):
        list(samples_of(path))
