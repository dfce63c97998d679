"""Every law over every cell, depth and awkward size; and what a step costs: nothing but time."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from numba import float32

from conftest import ROOT, kernel_sources
from stream_rnn.kernels import network
from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import softmax, tanh
from stream_rnn.kernels.engine import make_engine
from stream_rnn.model.architecture import Architecture, Layer, Readout
from stream_rnn.sample import F32
from tests import laws
from tests.laws import LAWS, Made
from tests.small import signatures

CELLS = {
    "elman": Layer("elman", 17),
    "elman relu": Layer("elman", 17, activation="relu"),
    "gru": Layer("gru", 17),
    "gru reset before": Layer("gru", 17, reset="before"),
    "lstm": Layer("lstm", 17),
    "elman linear": Layer("elman", 17, activation="linear"),
    "fir": Layer("fir", 17, lags=5),
}
TRAINED = [cell for cell in CELLS if cell != "fir"]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("cell", list(CELLS))
def test_every_cell_and_depth_obeys(cell: str, depth: int, law: Callable[[Made], None]) -> None:
    law(Made(Architecture(inputs=5, layers=(CELLS[cell],) * depth, outputs=2), 100))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("inputs", "units", "outputs"), [(1, 1, 1), (3, 64, 7), (96, 33, 2), (16, 1, 3)])
def test_awkward_sizes_obey(inputs: int, units: int, outputs: int, law: Callable[[Made], None]) -> None:
    layers = (Layer("lstm", units), Layer("gru", units + 2), Layer("elman", units))
    law(Made(Architecture(inputs=inputs, layers=layers, outputs=outputs), 100))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("lags", [1, 2, 60])
@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (30, 2), (3, 16), (5, 33)])
def test_filter_of_awkward_size_obeys(
    inputs: int, units: int, lags: int, law: Callable[[Made], None]
) -> None:
    layers = (Layer("fir", units, lags=lags), Layer("gru", 3))
    law(Made(Architecture(inputs=inputs, layers=layers, outputs=2), 130))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("readout", ["linear", "softmax"])
@pytest.mark.parametrize("cells", [("gru",), ("lstm", "gru"), ("fir", "elman")], ids="-".join)
def test_ensemble_obeys(cells: tuple[str, ...], readout: Readout, law: Callable[[Made], None]) -> None:
    layers = tuple(CELLS[cell] for cell in cells)
    law(Made(Architecture(inputs=5, layers=layers, outputs=3, readout=readout, members=3), 100))


def test_outputs_of_an_ensemble_are_those_of_its_members_added_up() -> None:
    one = Architecture(inputs=5, layers=(CELLS["gru"], CELLS["lstm"]), outputs=2)
    whole = Made(msgspec.structs.replace(one, members=3), 60)
    members = [Made(one, 60) for _ in range(3)]
    for member, weights in zip(members, np.split(whole.weights, 3), strict=True):
        member.engine = make_engine(member.plan, weights)
    a, b, c = (member.run(whole.xs) for member in members)
    np.testing.assert_array_equal(whole.run(whole.xs), a + b + c)


@pytest.mark.parametrize("readout", ["linear", "tanh", "sigmoid", "softmax"])
def test_every_readout_obeys(readout: Readout) -> None:
    made = Made(Architecture(inputs=4, layers=(Layer("gru", 9),), outputs=3, readout=readout), 100)
    for law in LAWS:
        law(made)


@pytest.mark.parametrize("cell", list(CELLS))
def test_thousand_steps_stay_near_float64(cell: str) -> None:
    laws.float32_stays_near_float64(Made(Architecture(inputs=8, layers=(CELLS[cell],), outputs=2), 1000))


def test_thousand_units_stay_near_float64() -> None:
    laws.float32_stays_near_float64(
        Made(Architecture(inputs=8, layers=(Layer("lstm", 1024),), outputs=2), 20)
    )


def test_nan_in_the_input_reaches_the_output() -> None:
    made = Made(Architecture(inputs=5, layers=(CELLS["lstm"],), outputs=2), 10)
    made.xs[4, 2] = np.nan
    ys = made.run(made.xs)
    assert np.isfinite(ys[:4]).all()
    assert np.isnan(ys[4:]).all()


def test_one_compiled_step_serves_every_network() -> None:
    for layers in ((CELLS["lstm"],), (CELLS["gru"], CELLS["elman"])):
        laws.run_equals_repeated_step(Made(Architecture(inputs=2, layers=layers, outputs=1), 3))
    whole = [kinds for kinds in signatures(network.step) if kinds[0].dtype == float32]  # weights not halved
    assert len(whole) == 1


def test_cache_of_the_tests_is_named_after_every_module_with_kernels() -> None:
    known = {str(path.relative_to(ROOT)) for path in kernel_sources(ROOT)}
    hot = {"stepper.py", "preprocess.py", "memory.py", "kernels/batch.py", "kernels/sparse.py"}
    assert known >= {f"stream_rnn/{name}" for name in hot | {"training/windows.py", "training/adam.py"}}


ALLOCATIONS = """
import numpy as np
from numba.core.runtime import rtsys
from tests.laws import Made
from stream_rnn.kernels import network
from stream_rnn.model.architecture import Architecture, Layer

layers = (Layer("lstm", 17), Layer("gru", 9), Layer("gru", 8, reset="before"), Layer("elman", 5))
made = Made(Architecture(inputs=5, layers=layers, outputs=2, readout="softmax"), 10)
state, y = made.state(), np.empty(2, dtype=np.float32)
arguments = (made.engine, made.xs[0], 0, state, 0, y, False)
network.step(*arguments)
before = rtsys.get_allocation_stats().alloc
for _ in range(100):
    network.step(*arguments)
print((rtsys.get_allocation_stats().alloc - before) / 100)
"""


def test_step_allocates_nothing() -> None:
    environment = os.environ | {"NUMBA_NRT_STATS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATIONS], capture_output=True, text=True, check=True, env=environment
    )
    assert float(done.stdout) == 0.0


@kernel
def tanh_of_all(v: F32) -> None:
    tanh(v)


@kernel
def softmax_of_all(v: F32) -> None:
    softmax(v)


def test_tanh_is_within_half_a_millionth() -> None:
    x: F32 = np.linspace(-12, 12, 400_001, dtype=np.float32)
    y = x.copy()
    tanh_of_all(y)
    assert np.abs(y - np.tanh(x.astype(np.float64))).max() < 5e-7
    assert (np.abs(y) <= 1).all()
    assert np.abs(np.diff(y)).max() < 1e-4


def test_tanh_keeps_nan_and_clamps_infinity() -> None:
    v: F32 = np.array([np.nan, np.inf, -np.inf, 0.0], dtype=np.float32)
    tanh_of_all(v)
    assert np.isnan(v[0])
    np.testing.assert_allclose(v[1:], [1, -1, 0], atol=5e-7)


def test_softmax_sums_to_one_and_does_not_overflow() -> None:
    v: F32 = np.array([1000.0, 999.0, -1000.0], dtype=np.float32)
    softmax_of_all(v)
    np.testing.assert_allclose(v, [0.7310586, 0.2689414, 0.0], atol=1e-6)


def test_kernel_without_a_place_for_its_code_is_compiled_all_the_same() -> None:
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2.0 * x\n", names)  # noqa: S102 - no file to cache beside
    assert kernel(names["double"])(1.5) == 3.0
