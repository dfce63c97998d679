"""The one home of every compiler flag."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.extending import register_jitable

from stream_rnn.kernels._cache import KernelCache, SourceCache, keep
from stream_rnn.kernels._passes import Part, Whole

P = ParamSpec("P")
R = TypeVar("R")

FLAGS: dict[str, Any] = {
    "nogil": True,
    "no_cfunc_wrapper": True,  # nobody calls a kernel from C
    "error_model": "numpy",
    # Contraction (fused multiply-add) only: sums keep their order, so that a step, a run and a batch
    # give the same bits, and NaN stays NaN.
    "fastmath": {"contract"},
}
PART: dict[str, Any] = FLAGS | {"no_cpython_wrapper": True, "_nrt": False, "pipeline_class": Part}


def kernel(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile `fn` on first call, keeping its signature for the type checker."""
    njit: Any = numba.njit  # its types do not know every option
    compiled = njit(**FLAGS)(fn)
    keep(compiled, SourceCache)
    return cast("Callable[P, R]", compiled)


def hot(fn: Callable[P, R]) -> Callable[P, R]:
    """A kernel on the path of a sample: numba's run time for objects is switched off.

    So what would allocate does not compile, and no reference is counted.
    """
    njit: Any = numba.njit  # its types do not know every option
    compiled = njit(**FLAGS, _nrt=False, pipeline_class=Whole)(fn)
    keep(compiled, KernelCache)
    return cast("Callable[P, R]", compiled)


def part(fn: Callable[P, R]) -> Callable[P, R]:
    """A part of hot kernels that only kernels call: it needs no way in from Python, no file of its own."""
    njit: Any = numba.njit  # its types do not know every option
    return cast("Callable[P, R]", njit(**PART)(fn))


def either(fn: Callable[P, R]) -> Callable[P, R]:
    """Plain Python where Python calls it, a part where a kernel does."""
    jitable: Callable[P, R] = register_jitable(**PART)(fn)
    return jitable


def seal(fn: Callable[P, R], *, sealed: bool = True) -> None:
    """Let a kernel take only what it is compiled for, anything else raises TypeError at once; or not."""
    if hasattr(fn, "disable_compile"):
        fn.disable_compile(sealed)
