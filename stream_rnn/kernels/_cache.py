"""Machine code of hot kernels on disk, read without what only a compiler needs.

Before numba reads its cache it loads types and functions of everything it can compile: a third of a start.
Hot kernels call nothing of that when they run, and whatever compiles one loads it anyway.
"""

from typing import Any

from numba.core.caching import FunctionCache, NullCache
from numba.core.dispatcher import Dispatcher
from numba.core.runtime.nrt import rtsys


class KernelCache(FunctionCache):
    """Numba's own cache, its files and its rules; for kernels without numba's run time (`_nrt` is False)."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel for these arguments; None where there is none."""
        rtsys.initialize(target_context)  # it counts allocations, also that there are none
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


def keep(compiled: object) -> None:
    """Keep on disk what is compiled, if anything can be written there."""
    if not isinstance(compiled, Dispatcher):  # with NUMBA_DISABLE_JIT it is the function itself
        return
    dispatcher: Any = compiled
    try:
        kept: Any = KernelCache(dispatcher.py_func)  # type: ignore[no-untyped-call]
    except RuntimeError:  # "no locator available": `stream-rnn doctor` tells
        kept = NullCache()
    dispatcher._cache = kept  # noqa: SLF001 - where `cache=True` puts its own
