"""Machine code of kernels on disk, that of hot ones read without what only a compiler needs.

Before numba reads its cache it loads types and functions of everything it can compile: a third of a start.
Hot kernels call nothing of that when they run, and whatever compiles one loads it anyway.

Numba takes what it kept for fresh while the kernel's own file is as it was. A kernel has code of other files
too: what is kept is fresh while all of them are as they were.
"""

from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from numba.core.caching import FunctionCache, NullCache
from numba.core.dispatcher import Dispatcher
from numba.core.runtime.nrt import rtsys

SOURCES = Path(__file__).parents[1]
ROOMS = ("*.py", "kernels/**/*.py")
"""Files that kernels have code of."""

Stamp: TypeAlias = tuple[tuple[str, int, int], ...]


@cache
def stamp_of(sources: Path) -> Stamp:
    """Name, time and size of every file that kernels may have code of."""
    found = sorted(path for room in ROOMS for path in sources.glob(room))
    stats = ((path, path.stat()) for path in found)
    return tuple((str(path.relative_to(sources)), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


class SourceCache(FunctionCache):
    """Numba's own cache and its files, fresh while all files of kernels are as they were."""

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)  # type: ignore[no-untyped-call]
        kept: Any = self._cache_file
        kept._source_stamp = kept._source_stamp, stamp_of(SOURCES)  # noqa: SLF001 - what numba compares


class KernelCache(SourceCache):
    """The same for kernels without numba's run time (`_nrt` is False)."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel for these arguments; None where there is none."""
        rtsys.initialize(target_context)  # it counts allocations, also that there are none
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


def kept(kernel: object) -> bool | None:
    """Whether the disk holds a version of a kernel that is fresh; None where nothing can be kept."""
    cache: Any = getattr(kernel, "_cache", None)
    return bool(cache._cache_file._load_index()) if isinstance(cache, SourceCache) else None  # type: ignore[no-untyped-call]  # noqa: SLF001


def keep(compiled: object, kind: type[SourceCache]) -> None:
    """Keep on disk what is compiled, if anything can be written there; else it is compiled at each start."""
    if not isinstance(compiled, Dispatcher):  # with NUMBA_DISABLE_JIT it is the function itself
        return
    dispatcher: Any = compiled
    try:
        kept: Any = kind(dispatcher.py_func)
    except RuntimeError:  # "no locator available": `stream-rnn doctor` tells
        kept = NullCache()
    dispatcher._cache = kept  # noqa: SLF001 - where `cache=True` puts its own
