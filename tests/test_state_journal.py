"""Messages written down: what comes back, what a torn end costs, which segments go."""

import os
from pathlib import Path

import pytest

from stream_rnn.errors import StateError
from stream_rnn.state.journal import Entry, Journal, Read


def entries(*names: str) -> list[Entry]:
    return [(name, "", 5, name.encode()) for name in names]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("s-journal-*"))


def written(folder: Path) -> Journal:
    """Two segments: messages 0 to 2, and 3."""
    journal = Journal(folder / "s")
    journal.begin()
    journal.append("json", entries("a", "b"), passing=False)
    journal.append("f32", entries("c"), passing=True)
    journal.begin()
    journal.append("json", entries("d"), passing=False)
    return journal


READS = [
    Read(0, "json", False, entries("a", "b")),  # noqa: FBT003 - a record
    Read(2, "f32", True, entries("c")),  # noqa: FBT003 - a record
    Read(3, "json", False, entries("d")),  # noqa: FBT003 - a record
]


def test_what_was_appended_comes_back_in_order_though_nobody_closed(tmp_path: Path) -> None:
    kept = written(tmp_path)
    again = Journal(tmp_path / "s")
    assert (list(again.read()), again.position, again.torn) == (READS, 4, 0)
    kept.close()


def test_journal_goes_on_after_what_it_read(tmp_path: Path) -> None:
    written(tmp_path).close()
    again = Journal(tmp_path / "s")
    list(again.read())
    again.begin()
    again.append("json", entries("e"), passing=False)
    again.close()
    assert [read.first for read in Journal(tmp_path / "s").read()] == [0, 2, 3, 4]


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 20])
def test_torn_end_costs_one_record_and_is_counted(tmp_path: Path, cut: int) -> None:
    written(tmp_path).close()
    segment = segments(tmp_path)[1]
    os.truncate(segment, segment.stat().st_size - cut)
    again = Journal(tmp_path / "s")
    assert (list(again.read()), again.torn, again.position) == (READS[:2], 1, 3)


def test_bytes_that_changed_end_their_segment_and_the_next_is_read(tmp_path: Path) -> None:
    written(tmp_path).close()
    data = bytearray(segments(tmp_path)[0].read_bytes())
    data[-1] ^= 1
    segments(tmp_path)[0].write_bytes(data)
    again = Journal(tmp_path / "s")
    assert (list(again.read()), again.torn) == ([READS[0], READS[2]], 1)


def test_only_segments_that_are_wholly_contained_are_removed(tmp_path: Path) -> None:
    journal = written(tmp_path)
    journal.remove_before(2)
    assert len(segments(tmp_path)) == 2
    journal.remove_before(3)
    assert [path.name for path in segments(tmp_path)] == [f"s-journal-{3:020d}"]
    journal.remove()
    assert segments(tmp_path) == []


def test_everything_appended_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = written(tmp_path)
    sync = journal.due()
    assert sync is not None
    sync()
    assert len(synced) == 3  # two segments, and the folder that names them
    assert journal.due() is None
    journal.append("json", entries("e"), passing=False)
    assert journal.due() is not None
    journal.close()


def test_full_disk_ends_the_segment_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(StateError, match=r"expected room for \d+ bytes, got 5$"):
        journal.append("json", entries("e"), passing=False)
    monkeypatch.undo()
    with pytest.raises(StateError, match="not written since the disk refused it"):
        journal.append("json", entries("f"), passing=False)
    assert (journal.broken, journal.position) == (True, 4)
    journal.begin()
    journal.append("json", entries("g"), passing=False)
    journal.close()
    again = Journal(tmp_path / "s")
    assert [read.entries for read in again.read()] == [*(r.entries for r in READS), entries("g")]
    assert again.torn == 1
