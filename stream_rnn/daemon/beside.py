"""A first start compiles on two processors: here what steps one stream, in a process beside what steps many.

Numba compiles one kernel after another in a process, and passes what is compiled through its cache on disk.
That process is this file run as a program, with a model file and its parent as arguments.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stream_rnn.environment import usable_cores
from stream_rnn.kernels._cache import kept
from stream_rnn.model.file import load_model
from stream_rnn.predictor import compile_many, compile_one
from stream_rnn.stepper import advance_many

PR_SET_PDEATHSIG = 1


def compile_beside(path: Path, *, sparse: bool) -> None:
    """Fill numba's cache with what a daemon needs, if that is quicker than to compile one after another.

    Args:
        path: The model's file.
        sparse: Whether the model will be tuned.

    Raises:
        ModelError: The file is no model's.
    """
    if usable_cores() > 1 and kept(advance_many) is False:
        model = load_model(path)
        with _second_process(path):
            compile_one(model, sparse=sparse)


@contextlib.contextmanager
def _second_process(path: Path) -> Iterator[None]:
    """Wait for it at the end. If it fails its traceback is seen, and what is missing gets compiled here."""
    command = [sys.executable, "-m", __name__, str(path), str(os.getpid())]
    nothing = subprocess.DEVNULL  # standard input and output may be samples and predictions
    with subprocess.Popen(  # noqa: S603 - this very file
        command,
        stdin=nothing,
        stdout=nothing,
        start_new_session=True,  # Ctrl-C is for us, who end it
    ) as process:
        try:
            yield
        except BaseException:
            process.terminate()
            raise


def end_with(parent: int) -> None:
    """End when that process does, however it ends; nobody would wait for what is compiled here."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before
            sys.exit()


if __name__ == "__main__":
    end_with(int(sys.argv[2]))
    compile_many(load_model(Path(sys.argv[1])))
