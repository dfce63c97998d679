"""What an operator reads, line by line: for people, or as JSON. Pure: time is passed in."""

import time
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

Form: TypeAlias = Literal["text", "json"]

ERRORS = frozenset({"failed", "recording_failed", "state_failed", "state_unreadable", "journal_failed"})
ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
"""What would end a line or command a terminal, as Python writes it: some details quote a peer."""
WARNINGS = frozenset(
    {
        "disconnected",
        "retrying",
        "reload_refused",
        "command_refused",
        "refused",
        "dropped",
        "insecure",
        "unrecorded",
    }
)


def level_of(kind: str) -> str:
    """How bad it is that something of this kind happened: `error`, `warning` or `info`."""
    if kind in ERRORS:
        return "error"
    return "warning" if kind in WARNINGS or kind.startswith("refused_") else "info"


def log_line(kind: str, detail: str, t_ns: int, form: Form, *, stream: str = "", run: str = "") -> str:
    """One line, without its end.

    Args:
        kind: What happened.
        detail: About what, and why.
        t_ns: When, epoch nanoseconds.
        form: For whom.
        stream: Whose sample it was about; told in JSON, where there is one.
        run: Name of the daemon's run; likewise.
    """
    if form == "text":
        clock = time.strftime("%H:%M:%S", time.localtime(t_ns / 1e9))
        return f"{clock} {kind:<12} {detail.translate(ESCAPES)}"
    moment = datetime.fromtimestamp(t_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    stamp = f"{moment}.{t_ns // 1_000_000 % 1000:03d}Z"
    entry = {"time": stamp, "level": level_of(kind), "kind": kind, "detail": detail}
    entry |= {name: value for name, value in (("stream", stream), ("run", run)) if value}
    return msgspec.json.encode(entry).decode()
