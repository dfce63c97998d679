"""What a watcher knows: truth matched to predictions, running R2, rates, traces."""

import msgspec
import numpy as np
import pytest
from rich.console import Console

from stream_rnn.cli.board import HISTORY, Board, RunningR2, StreamBoard, percentiles
from stream_rnn.cli.view import line, plot, screen
from stream_rnn.sample import F32, Flag, Prediction
from stream_rnn.training.r2 import r2
from stream_rnn.wire import CODECS

JSON = CODECS["json"]
ROOT = "stream_rnn/decoder"
NONE = Flag(0)


def prediction(seq: int, *y: float, flags: Flag = NONE, missed: int = 0) -> Prediction:
    values: F32 = np.array(y, dtype=np.float32)
    return Prediction("a", seq, "run", "model", values, flags, missed, seq * 10_000_000, 1_000, 2_000)


def told(board: Board, *predictions: Prediction, every_ns: int = 10_000_000) -> Board:
    for p in predictions:
        board.take(f"{ROOT}/predictions/a", JSON.encode_prediction(p, 5_000), p.seq * every_ns + 3_000_000)
    return board


def test_running_r2_equals_the_r2_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.standard_normal((500, 2)) * 3 + 1000).astype(np.float32)
    ys = truth + rng.standard_normal((500, 2)).astype(np.float32)
    truth[::50, 1] = np.nan
    running = RunningR2(2)
    for true, y in zip(truth, ys, strict=True):
        running.add(true, y)
    np.testing.assert_allclose(np.array(running.value(), dtype=np.float64), r2(truth, ys), rtol=1e-5)


def test_interval_stands_behind_its_prediction() -> None:
    bounds: F32 = np.array([[0.5], [2.25]], dtype=np.float32)
    one = msgspec.structs.replace(prediction(0, 1.0), bounds=bounds)
    assert "y0 1.00 [0.50, 2.25], latency" in line(told(Board(ROOT, JSON), one), 5_000_000)


@pytest.mark.parametrize("truth_first", [True, False])
def test_truth_is_matched_by_seq_whichever_comes_first(truth_first: bool) -> None:  # noqa: FBT001 - a case
    stream = StreamBoard(1)
    for seq in range(10):
        y: F32 = np.array([float(seq)], dtype=np.float32)
        if truth_first:
            stream.take_truth(seq, y)
        stream.take(prediction(seq, seq + 1.0), 0, 0)
        if not truth_first:
            stream.take_truth(seq, y)
    assert stream.r2.count.tolist() == [10]
    assert stream.r2.value() == [pytest.approx(1 - 10 / 82.5)]


def test_memory_of_a_stream_is_bounded() -> None:
    stream = StreamBoard(1)
    for seq in range(3 * HISTORY):
        stream.take(prediction(seq, 1.0), 0, seq)
    assert len(stream.trace) == HISTORY
    assert stream.count == 3 * HISTORY


def test_rate_counts_the_last_two_seconds() -> None:
    board = told(Board(ROOT, JSON), *(prediction(i, 0.0) for i in range(500)))
    assert board.streams["a"].rate_hz(500 * 10_000_000) == pytest.approx(100, rel=0.02)
    assert board.streams["a"].rate_hz(10**12) == 0.0


def test_gaps_and_latencies_are_kept() -> None:
    board = told(Board(ROOT, JSON), prediction(0, 0.0), prediction(4, 0.0, flags=Flag.GAP, missed=3))
    stream = board.streams["a"]
    assert (stream.gaps, stream.missed) == (1, 3)
    assert percentiles(stream.in_process_us, 50) == [4.0]
    assert percentiles(stream.end_to_end_us, 50) == [3000.0]


def test_unreadable_messages_are_counted() -> None:
    board = Board(ROOT, JSON)
    for topic in ("predictions/a", "metrics", "status"):
        board.take(f"{ROOT}/{topic}", b"{", 0)
    board.take_truth("a", b'{"seq": 1}')
    assert board.unreadable == 4


def test_screen_and_line_show_the_names_units_and_truth() -> None:
    board = told(Board(ROOT, JSON), *(prediction(i, i + 0.5, 2.0) for i in range(50)))
    outputs = [{"name": "vx", "unit": "cm/s"}, {"name": "vy", "unit": "cm/s"}]
    model = {"architecture": "gru 8", "bin_ms": 40.0, "hash": "abc", "outputs": outputs}
    board.take(f"{ROOT}/info", msgspec.json.encode({"model": model}), 0)
    board.take(f"{ROOT}/status", b'{"status": "online"}', 0)
    for seq in range(50):
        board.take_truth("a", msgspec.json.encode({"seq": seq, "y": [seq, 2.0]}))
    console = Console(width=120, record=True, file=None)
    with console.capture() as captured:
        console.print(screen(board, 500_000_000, 120))
    shown = captured.get()
    for text in ("online", "gru 8", "vx cm/s", "49.50", "49.00", "0.999", "predicted"):
        assert text in shown
    assert line(board, 500_000_000).startswith(
        "a: 99 Hz, vx 49.50 cm/s (truth 49.00, R2 0.999), vy 2.00 cm/s (truth"
    )


def test_plot_draws_a_rising_line_from_the_lower_left_to_the_upper_right() -> None:
    rising: F32 = np.arange(20, dtype=np.float32)
    rows = plot(np.full(20, np.nan, dtype=np.float32), rising, 10, 3).plain.split("\n")
    assert [row[0] != "\u2800" for row in rows] == [False, False, True]
    assert [row[-1] != "\u2800" for row in rows] == [True, False, False]


def test_plot_of_nothing_is_blank() -> None:
    empty: F32 = np.empty(0, dtype=np.float32)
    assert set(plot(empty, empty, 4, 2).plain) == {"\u2800", "\n"}
