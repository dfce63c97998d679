"""Vectors of our own against plain numba and narrower ones: the laws hold, and the numbers are near."""

import os

import numpy as np
import pytest

from stream_rnn.kernels.vector import LANES
from tests.laws import TOLERANCE
from tests.narrow import networks, told_by

PLAIN = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
@pytest.mark.parametrize(("settings", "lanes"), [(PLAIN, 1), (HASWELL, 8)], ids=["plain", "haswell"])
def test_laws_hold_and_numbers_agree_where_vectors_are_narrower(settings: dict[str, str], lanes: int) -> None:
    if lanes >= LANES:
        pytest.skip(f"this processor's vectors have {LANES} lanes")
    got_lanes, told = told_by(settings)
    assert got_lanes == lanes
    for name, made in networks():
        np.testing.assert_allclose(told[name], made.run(made.xs), atol=TOLERANCE, rtol=0, err_msg=name)
