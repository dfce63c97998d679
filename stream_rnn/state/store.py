"""Sessions as bytes by stream key, in one SQLite file; a checkpoint is one transaction. It knows no models.

A committed checkpoint survives a power cut: WAL with `synchronous = FULL` syncs the log at each commit. Two
connections: one commits, on any one thread at a time; the other reads, and never waits for the first.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from stream_rnn.errors import StateError

APPLICATION = 0x73726E73  # "srns", in the file's header: not any SQLite file is ours
VERSION = 1
BUSY_S = 5.0

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE states (
stream TEXT PRIMARY KEY, state BLOB, position INTEGER, round INTEGER, passing INTEGER, turn INTEGER);
CREATE INDEX passing ON states (passing) WHERE passing;
CREATE INDEX turn ON states (turn);
CREATE TABLE unconfirmed (number INTEGER PRIMARY KEY, topic TEXT, payload BLOB);
CREATE TABLE answers (
stream TEXT, seq INTEGER, wire TEXT, payload BLOB, PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TRIGGER forgotten AFTER DELETE ON states BEGIN DELETE FROM answers WHERE stream = old.stream; END;
"""

PUT = """
INSERT INTO states VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stream) DO UPDATE SET state = excluded.state,
position = excluded.position, round = excluded.round, passing = excluded.passing, turn = excluded.turn
"""

FORGET_SILENT = """
DELETE FROM states WHERE rowid IN (SELECT rowid FROM states ORDER BY turn LIMIT max(0, ?))
"""


class Put(NamedTuple):
    """One session's state.

    Attributes:
        stream: Key of its stream.
        state: Everything that what follows depends on.
        position: Number of the first journaled message that it may not contain.
        round: How often all streams had been reset by then.
        passing: Whether the stream ends with its connection: of no use to a later run.
    """

    stream: str
    state: bytes
    position: int
    round: int
    passing: bool = False


class Kept(NamedTuple):
    """How one sample was answered.

    Attributes:
        stream: Key of its stream.
        seq: Its number.
        wire: Encoding of the answer.
        payload: The answer.
    """

    stream: str
    seq: int
    wire: str
    payload: bytes


class About(msgspec.Struct, frozen=True):
    """What holds for the whole store.

    Attributes:
        models: Hashes of models whose states mean the same; the first is the one that is served.
        mark: Every journaled message before this number is contained.
        highest: No state contains a journaled message from this number on.
        round: How often all streams have been reset.
    """

    models: tuple[str, ...]
    mark: int = 0
    highest: int = 0
    round: int = 0


class Changes(NamedTuple):
    """What one checkpoint changes.

    Attributes:
        about: What holds from now on.
        puts: States of streams that changed.
        removed: Streams to forget; one that is put as well is put.
        published: What was published with qos 1 and is not confirmed: (serial number, topic, payload).
        confirmed: Serial numbers of such publications of earlier checkpoints that are confirmed now.
        clear: Forget every state first.
        renumbered: Streams whose answers so far are of no use: their numbers mean other samples now.
        answers: How samples were answered that the states contain.
        oldest: Streams, and the highest seq whose answer is of no use any more.
    """

    about: About
    puts: Sequence[Put] = ()
    removed: Iterable[str] = ()
    published: Sequence[tuple[int, str, bytes]] = ()
    confirmed: Iterable[int] = ()
    clear: bool = False
    renumbered: Iterable[str] = ()
    answers: Sequence[Kept] = ()
    oldest: Iterable[tuple[str, int]] = ()


class Store:
    """One file of sessions; nobody else opens it meanwhile.

    Args:
        path: The file; made where there is none. SQLite keeps `-wal` and `-shm` beside it, we `-lock`.
        model: Hash of the model whose states these are.
        most: Streams it keeps.

    Attributes:
        about: What holds since the last commit.
        forgotten: Streams that were forgotten since there were more: those silent longest.

    Raises:
        StateError: The states are of another model, another process has the file, it is none of ours, or the
            disk does not take it.
    """

    def __init__(self, path: Path, model: str, most: int) -> None:
        self.forgotten = 0
        self._path, self._most = path, most
        with contextlib.ExitStack() as opened, self._told():
            opened.enter_context(lock(path))
            self._writer, self._reader = self._connect(opened), self._connect(opened)
            self.about = self._begin(model)
            (last,) = self._reader.execute("SELECT max(turn) FROM states").fetchone()
            self._turn, self._at_most = last or 0, self._count()
            self._opened = opened.pop_all()

    def _connect(self, opened: contextlib.ExitStack) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its other files this mode
        database = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        opened.callback(_close, database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        return database

    def _begin(self, model: str) -> About:
        """Make the tables, or read what holds; forget what ended with the last run."""
        writer = self._writer
        (application,), (version,) = (
            writer.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if not application and not writer.execute("SELECT 1 FROM sqlite_master").fetchone():
            about = About((model,))
            writer.execute("BEGIN IMMEDIATE")
            for statement in TABLES.strip().split(";\n"):
                writer.execute(statement)
            self._write_about(about)
            writer.execute(f"PRAGMA application_id = {APPLICATION}")
            writer.execute(f"PRAGMA user_version = {VERSION}")
            writer.execute("COMMIT")
            return about
        if application != APPLICATION:
            raise StateError(f"state {self._path}: expected a state file, got another SQLite database")
        if version != VERSION:
            raise StateError(f"state {self._path}: expected version {VERSION}, got {version}")
        about = self._read_about()
        if model not in about.models:
            raise StateError(
                f"state {self._path}: expected states of model {model}, got those of {about.models[0]}; "
                "serve that model, move the file away, or begin anew once with --forget-state"
            )
        writer.execute("DELETE FROM states WHERE passing")
        return about

    def _read_about(self) -> About:
        row = self._writer.execute("SELECT value FROM about WHERE name = 'about'").fetchone()
        try:
            return msgspec.json.decode(b"" if row is None else row[0], type=About)
        except (msgspec.DecodeError, TypeError, UnicodeError) as error:
            raise StateError(f"state {self._path}: expected what is known about it, got: {error}") from None

    def find(self, stream: str) -> Put | None:
        """The committed state of a stream.

        Raises:
            StateError: The disk does not give it.
        """
        with self._told():
            row = self._reader.execute(
                "SELECT state, position, round FROM states WHERE stream = ?", (stream,)
            ).fetchone()
        return None if row is None else Put(stream, *row)

    def answer(self, stream: str, seq: int) -> tuple[str, bytes] | None:
        """Encoding and payload of how a sample was answered, where that is kept.

        Raises:
            StateError: The disk does not give it.
        """
        with self._told():
            found: tuple[str, bytes] | None = self._reader.execute(
                "SELECT wire, payload FROM answers WHERE stream = ? AND seq = ?", (stream, seq)
            ).fetchone()
        return found

    def unconfirmed(self) -> list[tuple[int, str, bytes]]:
        """What was published and not confirmed at the last checkpoint of all, in that order.

        Raises:
            StateError: The disk does not give it.
        """
        with self._told():
            return self._reader.execute(
                "SELECT number, topic, payload FROM unconfirmed ORDER BY number"
            ).fetchall()

    def commit(self, changes: Changes) -> None:
        """Make changes durable: all of them, or none.

        Raises:
            StateError: The disk did not take them; nothing changed.
        """
        writer = self._writer
        with self._told():
            try:
                writer.execute("BEGIN IMMEDIATE")
                if changes.clear:
                    writer.execute("DELETE FROM states")
                writer.executemany("DELETE FROM states WHERE stream = ?", [(s,) for s in changes.removed])
                writer.executemany(
                    "DELETE FROM answers WHERE stream = ?", [(stream,) for stream in changes.renumbered]
                )
                at_most, forgotten = self._put(changes.puts)
                writer.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", changes.answers)
                writer.executemany("DELETE FROM answers WHERE stream = ? AND seq <= ?", changes.oldest)
                confirmed = [(number,) for number in changes.confirmed]
                writer.executemany("DELETE FROM unconfirmed WHERE number = ?", confirmed)
                writer.executemany("INSERT INTO unconfirmed VALUES (?, ?, ?)", changes.published)
                if changes.about != self.about:
                    self._write_about(changes.about)
                writer.execute("COMMIT")
            except sqlite3.Error:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        self.about, self._at_most = changes.about, at_most
        self.forgotten += forgotten

    def _put(self, puts: Sequence[Put]) -> tuple[int, int]:
        """Keep states; when there are more than may be, forget those that were put longest ago.

        Returns:
            How many there are at most (they are counted only when that may be too many), and how many were
            forgotten.
        """
        self._turn += 1
        self._writer.executemany(PUT, ((*put, self._turn) for put in puts))
        at_most = self._at_most + len(puts)
        if at_most <= self._most:
            return at_most, 0
        at_most = self._count()
        forgotten = self._writer.execute(FORGET_SILENT, (at_most - self._most,)).rowcount
        return at_most - forgotten, forgotten

    def _count(self) -> int:
        count: int
        (count,) = self._writer.execute("SELECT count(*) FROM states").fetchone()
        return count

    def close(self) -> None:
        """Close the file, and let others have it."""
        self._opened.close()

    def _write_about(self, about: About) -> None:
        self._writer.execute(
            "INSERT OR REPLACE INTO about VALUES ('about', ?)", (msgspec.json.encode(about).decode(),)
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """An error of the database as one line of ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(f"state {self._path}: {error}") from None
        except OSError as error:
            raise StateError(f"state {self._path}: {os.strerror(error.errno or 0)}") from None


def _close(database: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):  # a disk that is full cannot fold the log in; it stays
        database.close()


def lock(path: Path) -> IO[bytes]:
    """Hold a file's `-lock` until it is closed; the system lets go of it when a process dies.

    Raises:
        StateError: Another process holds it, or it cannot be made.
    """
    name = path.with_name(f"{path.name}-lock")
    try:
        held = os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
    except OSError as error:
        raise StateError(f"state {path}: cannot be written: {os.strerror(error.errno or 0)}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise StateError(f"state {path}: expected no other user, got one: another daemon has it") from None
    return held


def forget(path: Path) -> None:
    """Delete a store, whatever is in it, and its journal.

    Raises:
        StateError: A daemon has it.
    """
    with lock(path):
        for found in path.parent.glob(f"{path.name}*"):
            if found.name.removeprefix(path.name) in {"", "-wal", "-shm"} or "-journal-" in found.name:
                found.unlink()
