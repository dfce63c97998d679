"""The lag between inputs and targets is found where it was put, and test rows have no say in it."""

import msgspec
import numpy as np
import pytest

from stream_rnn.errors import RecordingError
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording
from stream_rnn.training.lag import choose_lag
from stream_rnn.training.options import Options
from stream_rnn.training.windows import shifted

CORTEX = simulate(60, 24, seed=3)
OPTIONS = Options(seed=1)


def moved(rows: int) -> Recording:
    """Targets that come so many rows later than they should."""
    return msgspec.structs.replace(CORTEX, y=shifted(CORTEX.y, -rows))


@pytest.mark.parametrize("rows", [-30, 20])
def test_moved_targets_move_the_lag(rows: int) -> None:
    straight = max(choose_lag([CORTEX], OPTIONS).scores.items(), key=lambda item: item[1])[0]
    assert abs(choose_lag([moved(rows)], OPTIONS).rows - (straight + rows)) <= 2


def test_chosen_lag_scores_best_and_zero_is_among_the_tried() -> None:
    lag = choose_lag([moved(20)], OPTIONS)
    assert lag.scores[lag.rows] == max(lag.scores.values())
    assert 0 in lag.scores
    assert list(lag.scores) == sorted(lag.scores)


def test_test_rows_have_no_say() -> None:
    recording = moved(20)
    y = recording.y.copy()
    y[recording.is_test] = 1e6
    blind = msgspec.structs.replace(recording, y=y)
    assert choose_lag([blind], OPTIONS) == choose_lag([recording], OPTIONS)


def test_targets_of_noise_have_no_lag() -> None:
    noise = np.random.default_rng(0).standard_normal(CORTEX.y.shape).astype(np.float32)
    assert choose_lag([msgspec.structs.replace(CORTEX, y=noise)], OPTIONS).rows == 0


def test_recording_too_short_to_choose_by_is_refused() -> None:
    few = {
        "x": CORTEX.x[:4],
        "y": CORTEX.y[:4],
        "is_test": CORTEX.is_test[:4],
        "recording": CORTEX.recording[:4],
    }
    short = msgspec.structs.replace(CORTEX, **few)
    with pytest.raises(RecordingError, match=r"^recording simulated.*: expected [^\n]*, got [^\n]*$"):
        choose_lag([short], msgspec.structs.replace(OPTIONS, bin_ms=10))
