"""Balanced windows: rare movement is drawn as often as much rest, and only where it was asked for."""

import msgspec
import numpy as np

from stream_rnn.recordings.simulated import simulate
from stream_rnn.training.balance import MOST, rarity
from stream_rnn.training.fit import fit
from stream_rnn.training.options import Options
from stream_rnn.training.windows import Windows
from tests.test_fit import ignore

CORTEX = simulate(30, 12, seed=3)
QUICK = Options(seed=5, units=8, layers=1, epochs=2, dropout=0.2)


def mostly_rest(rows: int = 1000) -> np.ndarray:
    """A target that rests at 5 and moves in the last tenth."""
    y = np.full((rows, 1), 5.0, dtype=np.float32)
    moving = rows - rows // 10
    y[moving:, 0] += np.linspace(1, 3, rows - moving)
    return y


def test_moving_rows_weigh_more_but_not_without_limit() -> None:
    y = mostly_rest()
    weight = rarity(y, np.ones(len(y), dtype=np.bool_))
    assert (weight[:900] == 1.0).all()
    assert (weight[900:] > 5.0).all()
    assert weight.max() <= MOST


def test_rows_without_a_target_weigh_nothing_and_count_nowhere() -> None:
    y = mostly_rest()
    y[:50] = np.nan
    weight = rarity(y, np.ones(len(y), dtype=np.bool_))
    assert (weight[:50] == 0.0).all()
    assert np.isfinite(weight).all()


def test_windows_of_movement_are_drawn_more_often() -> None:
    y = mostly_rest()
    inputs = np.zeros_like(y)
    weights = rarity(y, np.ones(len(y), dtype=np.bool_))

    def moving_share(weighted: np.ndarray | None) -> float:
        windows = Windows(inputs, y, [(0, len(y))], 10, 2, weighted)
        _, Y = windows.draw(np.random.default_rng(0), 4000)
        return float((Y > 5.5).mean())

    assert moving_share(None) < 0.12
    assert 0.35 < moving_share(weights) < 0.75


def test_balance_changes_the_fit_and_the_seed_repeats_it() -> None:
    balanced = msgspec.structs.replace(QUICK, balance=True)
    first, again = (fit([CORTEX], balanced, ignore).model for _ in range(2))
    plain = fit([CORTEX], QUICK, ignore).model
    assert first.hash == again.hash
    assert (first.weights != plain.weights).any()
