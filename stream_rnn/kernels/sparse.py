"""Where inputs are zero, their weights need not be read: decided layer by layer, by time measured here."""

from collections.abc import Callable

import numpy as np

from stream_rnn.kernels._jit import hot
from stream_rnn.kernels.engine import A_AT, FEW, INPUTS, KIND, NUMBERS_AT, ROWS, SUMS, B, W, row_of
from stream_rnn.kernels.packed import not_zero, product, product_listed
from stream_rnn.kernels.plan import ELMAN_RELU, READOUT
from stream_rnn.kernels.vector import integer
from stream_rnn.sample import F32, I64

Clock = Callable[[], int]
"""Nanoseconds, when asked."""

LEAST_INPUTS = 16  # of a layer for which it is worth asking
WORTH_IT = 0.9  # what takes as long either way is not worth counting for
ROUNDS, REPEATS = 7, 8


@hot
def _dense(engine: F32, row: int, x: F32, x_at: int, repeats: int) -> None:
    a, b, w = integer(engine, row + A_AT), integer(engine, row + B), integer(engine, row + W)
    for _ in range(repeats):
        product(
            engine,
            a,
            engine,
            b,
            x,
            x_at,
            engine,
            w,
            integer(engine, row + INPUTS),
            integer(engine, row + SUMS),
        )


@hot
def _listed(engine: F32, row: int, x: F32, x_at: int, repeats: int) -> None:
    a, b, w = integer(engine, row + A_AT), integer(engine, row + B), integer(engine, row + W)
    D, N, numbers = (
        integer(engine, row + INPUTS),
        integer(engine, row + SUMS),
        integer(engine, row + NUMBERS_AT),
    )
    for _ in range(repeats):
        n = not_zero(x, x_at, D, engine, numbers)
        product_listed(engine, a, engine, b, x, x_at, engine, w, D, N, n, numbers)


def _column(engine: F32, row: int, column: int) -> I64:
    """One number of the table, as an array that can be written to."""
    return engine[row + column : row + column + 2].view(np.int64)


def tune(engine: F32, x: F32, clock: Clock, *, features: bool) -> list[int]:
    """Measure and set below how many inputs that are not zero each layer takes only those.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        x: Room for the inputs of the widest layer.
        clock: Nanoseconds, monotonic.
        features: Whether features can be zero at all. Of what units give, only a rectified one can.

    Returns:
        The number for each layer and readout; 0 where all inputs are always taken.
    """
    found, maybe_zero = [], features
    for layer in range(int(_column(engine, ROWS, 0)[0])):
        row = row_of(layer)
        asked = maybe_zero and _column(engine, row, INPUTS)[0] >= LEAST_INPUTS
        few = _measured(engine, row, x, clock) if asked else 0
        _column(engine, row, FEW)[0] = few
        found.append(few)
        kind = _column(engine, row, KIND)[0]
        maybe_zero = features if kind == READOUT else bool(kind == ELMAN_RELU)
    return found


def _measured(engine: F32, row: int, x: F32, clock: Clock) -> int:
    D = int(_column(engine, row, INPUTS)[0])
    x[:D] = 1.0
    dense = _shortest(_dense, engine, row, x, clock)
    x[: D - D // 4] = 0.0
    quarter = _shortest(_listed, engine, row, x, clock)
    x[: D - D // 2] = 0.0
    x[D - D // 2 : D] = 1.0
    half = _shortest(_listed, engine, row, x, clock)
    if quarter > WORTH_IT * dense:
        return 0
    each = max(1.0, half - quarter) / (D // 2 - D // 4)
    pays_below = (dense - (quarter - each * (D // 4))) / each
    return max(0, min(D, int(WORTH_IT * pays_below)))


def _shortest(
    kernel: Callable[[F32, int, F32, int, int], None], engine: F32, row: int, x: F32, clock: Clock
) -> int:
    """Nanoseconds of REPEATS products, the least of some rounds."""
    kernel(engine, row, x, 0, REPEATS)
    times = []
    for _ in range(ROUNDS):
        began = clock()
        kernel(engine, row, x, 0, REPEATS)
        times.append(clock() - began)
    return min(times)
