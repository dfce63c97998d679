"""What is around a model: versions and the processor, which its bits may depend on, and cores."""

import os
import platform

import numba
import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]  # it ships no types

from stream_rnn import __version__


def environment() -> dict[str, str]:
    """Name and value of each."""
    return {
        "stream_rnn": __version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": str(binding.get_host_cpu_name()),
    }


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
