"""Sessions as bytes on disk: what a commit does, who may open the file, what is refused."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from stream_rnn.errors import StateError
from stream_rnn.state.store import About, Changes, Put, Store, forget

ABOUT = About(("m",))


def put(stream: str, state: bytes = b"s", position: int = 0, *, passing: bool = False) -> Put:
    return Put(stream, state, position, 0, passing)


def test_committed_states_are_there_after_the_file_is_opened_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    store.commit(Changes(About(("m",), mark=7, round=1), [put("a", b"1", 9), put("b", b"2")]))
    store.commit(Changes(About(("m",), mark=8, highest=11, round=1), [put("a", b"3", 10)], {"b"}))
    store.close()
    store = Store(tmp_path / "s", "m", 9)
    assert store.about == About(("m",), 8, 11, 1)
    assert (store.find("a"), store.find("b")) == (Put("a", b"3", 10, 0), None)
    store.close()


def test_stream_that_is_removed_and_put_is_put(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    store.commit(Changes(ABOUT, [put("a", b"1")]))
    store.commit(Changes(ABOUT, [put("a", b"2")], {"a"}))
    assert store.find("a") == put("a", b"2")
    store.commit(Changes(ABOUT, [put("b")], clear=True))
    assert (store.find("a"), store.find("b")) == (None, put("b"))
    store.close()


def test_of_more_streams_than_may_be_those_silent_longest_are_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 3)
    for stream in "abca":
        store.commit(Changes(ABOUT, [put(stream)]))
    assert store.forgotten == 0
    store.commit(Changes(ABOUT, [put("d"), put("e")]))
    assert store.forgotten == 2
    store.close()
    store = Store(tmp_path / "s", "m", 3)
    store.commit(Changes(ABOUT, [put("f")]))
    assert [stream for stream in "abcdef" if store.find(stream) is not None] == ["d", "e", "f"]
    store.close()


def test_only_their_owner_reads_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    store.commit(Changes(ABOUT, [put("a")]))
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("s", "s-lock", "s-shm", "s-wal"), "0o600")
    store.close()


def test_what_ended_with_its_connection_is_forgotten_by_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    store.commit(Changes(ABOUT, [put("tcp:1", passing=True), put("a")]))
    store.close()
    store = Store(tmp_path / "s", "m", 9)
    assert (store.find("tcp:1"), store.find("a")) == (None, put("a"))
    store.close()


def test_unconfirmed_predictions_keep_their_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    store.commit(Changes(ABOUT, published=[(3, "t", b"3"), (5, "t", b"5"), (9, "u", b"9")]))
    store.commit(Changes(ABOUT, published=[(10, "t", b"10")], confirmed={5}))
    store.close()
    store = Store(tmp_path / "s", "m", 9)
    assert store.unconfirmed() == [(3, "t", b"3"), (9, "u", b"9"), (10, "t", b"10")]
    store.close()


def test_states_of_another_model_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = Store(path, "m", 9)
    store.commit(Changes(About(("n", "m")), [put("a")]))
    store.close()
    with pytest.raises(StateError) as refused:
        Store(path, "x", 9)
    assert str(refused.value) == (
        f"state {path}: expected states of model x, got those of n; serve that model, move the file away, or "
        "begin anew once with --forget-state"
    )
    Store(path, "m", 9).close()  # its states mean the same
    forget(path)
    store = Store(path, "x", 9)
    assert store.find("a") is None
    store.close()


def test_second_user_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    expected = f"^state {tmp_path / 's'}: expected no other user, got one: another daemon has it$"
    for another in (lambda: Store(tmp_path / "s", "m", 9), lambda: forget(tmp_path / "s")):
        with pytest.raises(StateError, match=expected):
            another()
    store.close()
    Store(tmp_path / "s", "m", 9).close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_bytes(b"x" * 5000), "file is not a database"),
        (
            lambda p: sqlite3.connect(p).execute("CREATE TABLE t (x)").connection.close(),
            "expected a state file",
        ),
    ],
)
def test_file_that_is_none_of_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, make: object, said: str
) -> None:
    path = tmp_path / "s"
    make(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(StateError, match=said):
        Store(path, "m", 9)
    assert path.read_bytes()[100:] == before[100:]  # a database's header tells its journal


def test_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    expected = r"none/s: cannot be written: No such file or directory$"
    with pytest.raises(StateError, match=expected):
        Store(tmp_path / "none" / "s", "m", 9)


def test_folder_of_that_name_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(StateError, match=r"^state .*/s: Is a directory$"):
        Store(tmp_path / "s", "m", 9)


@pytest.mark.parametrize("about", [None, b"{", b"\xff", '{"models": 3}'])
def test_damaged_file_is_one_line_and_is_let_go_of(tmp_path: Path, about: bytes | str | None) -> None:
    Store(tmp_path / "s", "m", 9).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "s")) as database, database:
        database.execute("UPDATE about SET value = ?", (about,))
    for _ in range(2):  # it is not locked by the first time
        with pytest.raises(StateError, match=r"^state .*/s: expected what is known about it, got: "):
            Store(tmp_path / "s", "m", 9)


def test_full_disk_changes_nothing_and_the_next_commit_works(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    store.commit(Changes(ABOUT, [put("a", b"1")]))
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match=r"^state .*: database or disk is full$"):
        store.commit(Changes(ABOUT, [put("a", b"2"), put("b", bytes(100_000))]))
    assert store.find("a") == put("a", b"1")
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.commit(Changes(ABOUT, [put("a", b"2"), put("b", bytes(100_000))]))
    assert store.find("a") == put("a", b"2")
    store.close()


def test_commits_are_synced_before_they_return(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", "m", 9)
    for database in (store._writer, store._reader):
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    store.close()
