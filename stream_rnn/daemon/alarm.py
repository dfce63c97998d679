"""Calls back at an instant of the monotonic clock, to some ten microseconds where the system can (timerfd).

Event loops wait in whole milliseconds.
"""

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Callable

CLOCK_MONOTONIC = 1
ABSOLUTE = 1
CLOSED_AND_QUIET = 0o2004000  # close on exec, do not block


class _Spec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """One instant at a time; setting it again moves it.

    Args:
        call: What is called.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._file = -1
        self._libc = _libc()

    def set(self, at_ns: int) -> None:
        """Call at this instant, `time.monotonic_ns`; at once where it is past."""
        if self._loop is None:
            self._open()
        assert self._loop is not None
        if self._file < 0:
            self.clear()
            wait_s = max(0.0, (at_ns - time.monotonic_ns()) / 1e9)
            self._timer = self._loop.call_later(wait_s, self._call)
            return
        self._arm(max(1, at_ns))

    def clear(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
        if self._file >= 0:
            self._arm(0)

    def close(self) -> None:
        """Never call again."""
        self.clear()
        if self._file >= 0 and self._loop is not None:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._libc is not None:
            self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, CLOSED_AND_QUIET)
        if self._file >= 0:
            self._loop.add_reader(self._file, self._ring)

    def _arm(self, at_ns: int) -> None:
        assert self._libc is not None
        spec = _Spec(0, 0, at_ns // 1_000_000_000, at_ns % 1_000_000_000)
        self._libc.timerfd_settime(self._file, ABSOLUTE, ctypes.byref(spec), None)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it was set anew in between
            os.read(self._file, 8)
            self._call()


def _libc() -> ctypes.CDLL | None:
    """The C library, where it knows timers that are files."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.timerfd_create  # noqa: B018 - asked for
    except (OSError, AttributeError):
        return None
    return libc
