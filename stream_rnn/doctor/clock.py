"""Clocks and timers: how fine, how true, how late."""

import asyncio
import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.processor import read_line
from stream_rnn.environment import usable_cores

SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
TIMESYNC = Path("/run/systemd/timesync/synchronized")
SLOW_READ_NS = 1000.0  # a hardware timer read over the bus; tsc and its like take 20-60 ns
COARSE_S = 1e-4
STEPPED_MS = 5.0  # slewing moves a clock by 0.5 ms a second at most
LATE_MS = 5.0
SLEEPS, SLEEP_S = 200, 0.001
STA_UNSYNC, TIME_ERROR = 0x40, 5  # of adjtimex(2)


class Timex(ctypes.Structure):
    """The first fields of Linux' `struct timex`, and room for the others."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("others", ctypes.c_byte * 512),
    )


async def check_clock() -> list[Finding]:
    """Read the clocks, and sleep a little between two looks at them."""
    resolution_s = time.get_clock_info("monotonic").resolution
    began_ns, offset_ns = time.monotonic_ns(), time.time_ns() - time.monotonic_ns()
    lateness_ms = await _sleep_often()
    step_ms = (time.time_ns() - time.monotonic_ns() - offset_ns) / 1e6
    over_s = (time.monotonic_ns() - began_ns) / 1e9
    synchronised, max_error_ms = _synchronised()
    return [
        monotonic_finding(resolution_s, _cost_of_a_read_ns(), read_line(SOURCE)),
        wall_finding(synchronised=synchronised, max_error_ms=max_error_ms, step_ms=step_ms, over_s=over_s),
        timers_finding(lateness_ms, os.getloadavg()[0], usable_cores()),
    ]


def monotonic_finding(resolution_s: float, read_ns: float, source: str | None) -> Finding:
    """Judge the clock that durations come from.

    Args:
        resolution_s: Its resolution.
        read_ns: What reading it costs.
        source: What it is made of, where the system tells.
    """
    found = f"resolution {resolution_s * 1e9:.0f} ns, {read_ns:.0f} ns a reading"
    found += f", from {source}" if source else ""
    if resolution_s > COARSE_S:
        return Finding("clock", "warn", found, "latencies will be told in these steps: use another system")
    if read_ns > SLOW_READ_NS:
        do = "each sample reads it several times: choose tsc or kvm-clock as the kernel's clocksource"
        return Finding("clock", "warn", found, do)
    return Finding("clock", "ok", found)


def wall_finding(
    *,
    synchronised: bool | None,
    max_error_ms: float,
    step_ms: float,
    over_s: float,
) -> Finding:
    """Judge the clock that samples and predictions are stamped with.

    Args:
        synchronised: Whether something keeps it right; None where the system does not tell.
        max_error_ms: How wrong the kernel believes it may be.
        step_ms: How far it moved against the monotonic clock.
        over_s: In how long.
    """
    if abs(step_ms) > STEPPED_MS:
        found = f"jumped by {step_ms:.1f} ms within {over_s:.1f} s"
        do = "something sets it while we run: keep one time service, and let it slew"
        return Finding("wall clock", "warn", found, do)
    if synchronised is None:
        return Finding("wall clock", "skip", "this system does not tell whether it is synchronised")
    if not synchronised:
        do = (
            "start chrony or systemd-timesyncd: end-to-end latency and stream.deadline_ms compare this clock "
            "with the producer's (on one machine they agree anyway)"
        )
        return Finding("wall clock", "warn", "not synchronised", do)
    found = "synchronised" if max_error_ms < 0 else f"synchronised, wrong by at most {max_error_ms:.1f} ms"
    return Finding("wall clock", "ok", found)


def timers_finding(lateness_ms: Sequence[float], load: float, cores: int) -> Finding:
    """Judge how late a sleep of 1 ms ends.

    Args:
        lateness_ms: Of each sleep.
        load: Processes that want to run, over the last minute.
        cores: Cores for them.
    """
    p50, p99 = (float(p) for p in np.percentile(lateness_ms, (50, 99)))
    found = f"1 ms sleeps end {p50:.2f} ms late (p50), {p99:.2f} ms (p99); load {load:.1f} on {cores} cores"
    if p99 <= LATE_MS:
        return Finding("timers", "ok", found)
    do = "see with `top` what else runs; keep a core for the daemon (taskset), or raise its priority (nice)"
    return Finding("timers", "warn", found, do)


def _synchronised() -> tuple[bool | None, float]:
    """Whether the kernel says so, or a file of systemd's does, and the largest error in ms, -1 if unknown."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except AttributeError:  # Linux only
        return None, -1.0
    timex = Timex()
    state = adjtimex(ctypes.byref(timex))
    if 0 <= state != TIME_ERROR and not timex.status & STA_UNSYNC:
        return True, timex.maxerror / 1e3
    if TIMESYNC.exists():  # it steps without telling the kernel where it may not
        return True, -1.0
    return (None if state < 0 else False), -1.0


def _cost_of_a_read_ns() -> float:
    began = time.perf_counter_ns()
    for _ in range(1000):
        time.monotonic_ns()
    return (time.perf_counter_ns() - began) / 1000


async def _sleep_often() -> list[float]:
    lateness_ms = []
    for _ in range(SLEEPS):
        began = time.perf_counter()
        await asyncio.sleep(SLEEP_S)
        lateness_ms.append((time.perf_counter() - began - SLEEP_S) * 1e3)
    return lateness_ms
