"""The one home of every compiler flag."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

_compile = numba.njit(
    cache=True,
    nogil=True,
    error_model="numpy",
    # Contraction (fused multiply-add) only: sums keep their order, so that a step, a run and a batch
    # give the same bits, and NaN stays NaN.
    fastmath={"contract"},
)


def kernel(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile `fn` on first call, keeping its signature for the type checker."""
    return cast("Callable[P, R]", _compile(fn))
