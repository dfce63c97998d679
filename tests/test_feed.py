"""The feed: when samples are due, and what is published."""

import json
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.recordings.feed import Order, Recorded, Schedule, Simulated, publish_row, rows_of
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import write_table


def test_samples_are_due_on_a_grid_that_lateness_does_not_move() -> None:
    schedule = Schedule(rate_hz=250.0, start_ns=1_000, epoch_ns=5_000_000)
    assert schedule.due_in_s(10, 1_000) == pytest.approx(0.04)
    assert schedule.due_in_s(10, 1_000 + 39_000_000) == pytest.approx(0.001)
    assert schedule.due_in_s(10, 10**9) == 0.0
    assert schedule.t_ns(10) == 45_000_000


def test_lateness_is_told_from_when_samples_were_due() -> None:
    schedule = Schedule(rate_hz=100.0, start_ns=0, epoch_ns=0)
    for seq in range(100):
        schedule.sent(seq, seq * 10_000_000 + (7_000_000 if seq >= 98 else 0))
    outcome = schedule.outcome()
    assert outcome.sent == 100
    assert outcome.late_p99_ms == pytest.approx(7.0)


def test_sample_and_truth_carry_the_same_number_and_time() -> None:
    published: list[tuple[str, bytes]] = []
    order = Order(Simulated(3, 100.0, 1, 1), "a", 100.0, "unused")
    row = next(rows_of(order.source))

    def publish(topic: str, payload: bytes) -> bool:
        published.append((topic, payload))
        return True

    publish_row(order, 7, row, 123, publish)
    (topic, sample), (truth_topic, truth) = published
    assert (topic, truth_topic) == ("sensors/a/samples", "sensors/a/truth")
    assert json.loads(sample) == {"x": row[0].tolist(), "seq": 7, "t_ns": 123, "stream": None}
    assert row[1] is not None
    assert json.loads(truth) == {"seq": 7, "t_ns": 123, "y": row[1].tolist()}


def test_recording_feeds_its_test_rows_in_order(tmp_path: Path) -> None:
    recording = simulate(3, 4, seed=1)
    write_table(recording, tmp_path / "r.npz")
    rows = list(rows_of(Recorded(tmp_path / "r.npz")))
    np.testing.assert_array_equal(np.array([x for x, _ in rows]), recording.x[recording.is_test])
    np.testing.assert_array_equal(np.array([y for _, y in rows]), recording.y[recording.is_test])
