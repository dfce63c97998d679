"""The one home of every compiler flag."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

FLAGS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Contraction (fused multiply-add) only: sums keep their order, so that a step, a run and a batch
    # give the same bits, and NaN stays NaN.
    "fastmath": {"contract"},
}


def kernel(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile `fn` on first call, keeping its signature for the type checker.

    Compiled code is kept on disk; where nothing can be written, it is compiled anew at each start.
    """
    return _compiled(fn, FLAGS)


def hot(fn: Callable[P, R]) -> Callable[P, R]:
    """A kernel on the path of a sample: numba's run time for objects is switched off.

    So what would allocate does not compile, and no reference is counted.
    """
    return _compiled(fn, FLAGS | {"_nrt": False})


def _compiled(fn: Callable[P, R], flags: dict[str, Any]) -> Callable[P, R]:
    try:
        compiled = numba.njit(cache=True, **flags)(fn)
    except RuntimeError:  # "no locator available": `stream-rnn doctor` tells
        compiled = numba.njit(**flags)(fn)
    return cast("Callable[P, R]", compiled)


def seal(fn: Callable[P, R]) -> None:
    """From now on let a kernel take only what it is compiled for: anything else raises TypeError, at once."""
    if hasattr(fn, "disable_compile"):
        fn.disable_compile()
