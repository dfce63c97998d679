"""What an operator reads, line by line: for people, or as JSON. Pure: time is passed in."""

import time
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

Form: TypeAlias = Literal["text", "json"]

ERRORS = frozenset({"failed", "recording_failed"})
WARNINGS = frozenset({"disconnected", "retrying", "reload_refused", "command_refused", "refused", "dropped"})


def level_of(kind: str) -> str:
    """How bad it is that something of this kind happened: `error`, `warning` or `info`."""
    if kind in ERRORS:
        return "error"
    return "warning" if kind in WARNINGS or kind.startswith("refused_") else "info"


def log_line(kind: str, detail: str, t_ns: int, form: Form) -> str:
    """One line, without its end.

    Args:
        kind: What happened.
        detail: About what, and why.
        t_ns: When, epoch nanoseconds.
        form: For whom.
    """
    if form == "text":
        return f"{time.strftime('%H:%M:%S', time.localtime(t_ns / 1e9))} {kind:<12} {detail}"
    moment = datetime.fromtimestamp(t_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    stamp = f"{moment}.{t_ns // 1_000_000 % 1000:03d}Z"
    entry = {"time": stamp, "level": level_of(kind), "kind": kind, "detail": detail}
    return msgspec.json.encode(entry).decode()
