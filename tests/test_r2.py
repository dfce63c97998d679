"""The coefficient of determination, and what it leaves out."""

import numpy as np
import pytest

from stream_rnn.training.r2 import r2, r2_mean

NOTHING = float("nan")


def test_r2_is_one_for_the_truth_zero_for_its_mean_and_nan_for_a_constant() -> None:
    truth = np.array([[1, 5], [2, 5], [np.nan, 5], [3, 5]], dtype=np.float32)
    np.testing.assert_array_equal(r2(truth, truth), [1, np.nan])
    np.testing.assert_array_equal(r2(truth, np.full_like(truth, 2.0)), [0, np.nan])


@pytest.mark.parametrize("unknown", ["truth", "prediction"])
def test_r2_leaves_out_rows_that_are_not_known_and_outputs_that_do_not_vary(unknown: str) -> None:
    truth = np.array([[0, 1], [1, 1], [2, 1], [7, 1]], dtype=np.float32)
    predicted = np.array([[0, 1], [2, 1], [2, 1], [9, 1]], dtype=np.float32)
    (truth if unknown == "truth" else predicted)[3] = NOTHING
    np.testing.assert_array_equal(r2(truth, predicted), [0.5, np.nan])
    assert r2_mean(truth, predicted) == 0.5


def test_mean_over_outputs_none_of_which_varies_is_no_number() -> None:
    truth = np.array([[5, NOTHING], [5, NOTHING]], dtype=np.float32)
    assert np.isnan(r2_mean(truth, np.zeros_like(truth)))
