"""The schedule of a replay: pauses shift it, a changed rate keeps its position, and nothing drifts."""

import os
import pty
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.recordings.pacing import Pace

S = 1_000_000_000


def test_instant_is_due_at_its_offset_over_the_rate() -> None:
    pace = Pace(5 * S, 2.0)
    assert [pace.due_ns(offset) for offset in (0.0, 1.0, 4.0)] == [5 * S, 5 * S + S // 2, 7 * S]


@given(pauses=st.lists(st.tuples(st.integers(0, S), st.integers(0, S)), max_size=10))
def test_pauses_shift_what_follows_by_their_length(pauses: list[tuple[int, int]]) -> None:
    pace, now, paused = Pace(0, 1.0), 0, 0
    for before, length in pauses:
        now += before
        pace.toggle(now)
        assert pace.due_ns(1e6) is None
        now += length
        paused += length
        pace.toggle(now)
    assert pace.due_ns(100.0) == pytest.approx(100 * S + paused, abs=1000)


@given(changes=st.lists(st.tuples(st.integers(0, S), st.sampled_from([0.5, 2.0])), max_size=20))
def test_changed_rate_goes_on_from_where_it_is(changes: list[tuple[int, float]]) -> None:
    pace, now = Pace(0, 1.0), 0
    for after, factor in changes:
        now += after
        position = pace.position_s(now)
        pace.speed(factor, now)
        assert pace.position_s(now) == position
        assert pace.due_ns(position) == now


def test_paused_it_gives_one_sample_for_each_step() -> None:
    pace = Pace(0, 1.0, paused=True)
    assert not pace.take_step(0.0)
    pace.step()
    assert pace.take_step(0.3)
    assert not pace.take_step(0.4)
    assert (pace.due_ns(0.4), pace.position_s(9 * S)) == (None, 0.3)
    pace.toggle(10 * S)
    assert pace.due_ns(0.4) == 10 * S + S // 10


def test_keyboard_pauses_steps_and_quits_and_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t_s,a\n" + "".join(f"{i},{i}\n" for i in range(100)))
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "stream_rnn", "replay", str(tmp_path / "a.csv"), "--to", url]
        replay = subprocess.Popen(
            [*command, "--start-paused"],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        client, _ = server.accept()
        with client, client.makefile() as lines:
            assert replay.stderr is not None
            assert "space pauses" in replay.stderr.readline()
            os.write(controller, b".")
            assert '"x":[0.0]' in lines.readline()
            os.write(controller, b"\x1b[C")
            assert '"x":[1.0]' in lines.readline()
            os.write(controller, b"++ ")
            assert [replay.stderr.readline() for _ in range(5)][-1] == "playing at 1.000 s, rate 4\n"
            assert '"x":[2.0]' in lines.readline()
            os.write(controller, b"q")
            client.shutdown(socket.SHUT_WR)
            out, err = replay.communicate(timeout=20)
    assert (replay.returncode, "Traceback" in err) == (0, False)
    assert out.startswith("3 samples in ")
    assert termios.tcgetattr(terminal) == before
    os.close(controller)
    os.close(terminal)
