"""MCAP recordings: what is flushed is there, whatever happens to the rest; and others can read it."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.mcap import Entry, McapRecording, McapWriter

HEADER = {"model": "abc", "cpu": "znver4"}
MODEL = bytes(range(256)) * 8
CHUNKS = [
    [Entry("samples", "a", 10 * k + i, 5, 10 * k + i, b'{"x":[1]}') for i in range(10)]
    + [Entry("events", "", 10 * k + 9, 9, 0, b'{"kind":"connected"}')]
    for k in range(5)
]


def written(folder: Path) -> tuple[Path, list[int]]:
    """A recording, and its size after the header and after each flush."""
    path = folder / "r.mcap"
    path.unlink(missing_ok=True)
    writer = McapWriter(path.open("xb"), HEADER, MODEL)
    sizes = [path.stat().st_size]
    for chunk in CHUNKS:
        writer.write(chunk)
        sizes.append(path.stat().st_size)
    writer.close()
    return path, sizes


def test_everything_written_is_read_in_order(tmp_path: Path) -> None:
    recording = McapRecording(written(tmp_path)[0])
    assert list(recording.entries()) == [entry for chunk in CHUNKS for entry in chunk]
    assert (recording.header, recording.model, recording.whole) == (HEADER, MODEL, True)


@pytest.mark.parametrize("chunks", range(6))
@pytest.mark.parametrize("more", [0, 1, 50])
def test_torn_recording_holds_all_that_was_flushed(tmp_path: Path, chunks: int, more: int) -> None:
    path, sizes = written(tmp_path)
    path.write_bytes(path.read_bytes()[: sizes[chunks] + more])
    recording = McapRecording(path)
    assert list(recording.entries()) == [entry for chunk in CHUNKS[:chunks] for entry in chunk]
    assert (recording.whole, recording.model) == (False, MODEL)


@given(place=st.floats(0, 0.9999), bit=st.integers(0, 7), share=st.floats(0.01, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_damaged_bytes_give_fewer_entries_or_one_line(
    tmp_path: Path, place: float, bit: int, share: float
) -> None:
    path, _ = written(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 1 << bit
    path.write_bytes(raw[: int(share * len(raw))])
    try:
        assert len(list(McapRecording(path).entries())) <= 55
    except RecordingError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_other_programs_read_it(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    with path.open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        messages = list(reader.iter_messages(topics=["samples/a"]))
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == 55
    assert {channel.topic for channel in summary.channels.values()} == {"samples/a", "events"}
    schema, _, message = messages[7]
    assert schema is not None
    assert (schema.name, schema.encoding) == ("stream_rnn.samples", "jsonschema")
    assert json.loads(schema.data)["type"] == "object"
    assert (message.log_time, message.publish_time, message.sequence) == (7, 5, 7)


def test_absent_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        RecordingError, match=r"no.mcap: expected an MCAP file, got No such file or directory$"
    ):
        McapRecording(tmp_path / "no.mcap")
    (tmp_path / "text.mcap").write_text("hello")
    with pytest.raises(RecordingError, match=r"expected an MCAP file of stream-rnn, got none of its header$"):
        McapRecording(tmp_path / "text.mcap")
