"""What the bits of a prediction may depend on beside the model: versions and the processor."""

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
