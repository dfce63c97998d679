"""What an operator reads is one line for each event, whatever a peer put into it."""

import json

import pytest

from stream_rnn.operations.logs import level_of, log_line

QUOTED = "stream a\r\n00:00:00 ready\x1b[2J\x85\u2028\x00 é"


def test_peer_cannot_begin_a_line_or_command_a_terminal() -> None:
    line = log_line("refused", QUOTED, 0, "text")
    assert line.endswith(r"stream a\r\n00:00:00 ready\x1b[2J\x85\u2028\x00 é")
    assert line.splitlines() == [line]


def test_json_keeps_a_quotation_in_one_line() -> None:
    line = log_line("refused", QUOTED, 0, "json")
    assert json.loads(line)["detail"] == QUOTED
    assert not {"\n", "\r", "\x1b", "\x00"} & set(line)


def test_stream_and_run_are_told_where_there_are_some() -> None:
    line = json.loads(log_line("refused_width", "d", 0, "json", stream="left", run="ab12"))
    assert (line["stream"], line["run"]) == ("left", "ab12")
    assert {"stream", "run"}.isdisjoint(json.loads(log_line("ready", "d", 0, "json")))


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("failed", "error"),
        ("recording_failed", "error"),
        ("refused_width", "warning"),
        ("reload_refused", "warning"),
        ("command_refused", "warning"),
        ("disconnected", "warning"),
        ("retrying", "warning"),
        ("dropped", "warning"),
        ("ready", "info"),
        ("reloaded", "info"),
        ("evicted", "info"),
    ],
)
def test_level_follows_from_the_kind(kind: str, level: str) -> None:
    assert level_of(kind) == level
