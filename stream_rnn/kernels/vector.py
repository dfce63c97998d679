"""What kernels do with a vector of LANES float32: read, write, multiply-add. Where LANES is 1, plain numba.

A kernel walks over n values in steps of LANES; `load_first` and `store_first` touch no value past the n-th.
"""

from collections.abc import Callable

import numpy as np

from stream_rnn.kernels import _vector
from stream_rnn.kernels._jit import hot
from stream_rnn.kernels._vector import LANES, Vector
from stream_rnn.sample import F32

__all__ = [
    "LANES",
    "Vector",
    "at_least",
    "at_most",
    "fma",
    "integer",
    "load",
    "load_first",
    "set_integer",
    "splat",
    "store",
    "store_first",
    "total",
]


@hot
def _integer(array: F32, at: int) -> int:
    value: int = array[at : at + 2].view(np.int64)[0]
    return value


@hot
def _set_integer(array: F32, at: int, value: int) -> None:
    array[at : at + 2].view(np.int64)[0] = value


@hot
def _load(array: F32, at: int) -> Vector:
    value: Vector = array[at]
    return value


@hot
def _load_first(array: F32, at: int, n: int) -> Vector:
    value: Vector = array[at]
    return value


@hot
def _store(array: F32, at: int, value: Vector) -> None:
    array[at] = value


@hot
def _store_first(array: F32, at: int, value: Vector, n: int) -> None:
    array[at] = value


@hot
def _splat(value: Vector) -> Vector:
    return value


@hot
def _total(value: Vector) -> np.float32:
    return value


@hot
def _fma(a: Vector, b: Vector, c: Vector) -> Vector:
    return a * b + c


@hot
def _at_most(value: Vector, limit: Vector) -> Vector:
    return limit if value > limit else value


@hot
def _at_least(value: Vector, limit: Vector) -> Vector:
    return limit if value < limit else value


VECTORS = LANES > 1
integer: Callable[[F32, int], int] = _vector.integer if VECTORS else _integer
"""An int64 that lies in the place of two float32, from index `at`."""
set_integer: Callable[[F32, int, int], None] = _vector.set_integer if VECTORS else _set_integer
load: Callable[[F32, int], Vector] = _vector.load if VECTORS else _load
"""LANES values from index `at`."""
load_first: Callable[[F32, int, int], Vector] = _vector.load_first if VECTORS else _load_first
"""The first n of them; zeros behind."""
store: Callable[[F32, int, Vector], None] = _vector.store if VECTORS else _store
store_first: Callable[[F32, int, Vector, int], None] = _vector.store_first if VECTORS else _store_first
splat: Callable[[Vector], Vector] = _vector.splat if VECTORS else _splat
"""One value in every lane."""
total: Callable[[Vector], np.float32] = _vector.total if VECTORS else _total
"""Sum of the lanes, the first one first."""
fma: Callable[[Vector, Vector, Vector], Vector] = _vector.fma if VECTORS else _fma
"""a b + c, rounded once where the processor can."""
at_most: Callable[[Vector, Vector], Vector] = _vector.at_most if VECTORS else _at_most
"""The limit where a value is above it; NaN stays."""
at_least: Callable[[Vector, Vector], Vector] = _vector.at_least if VECTORS else _at_least
