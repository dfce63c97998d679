"""Whether the model can be served here, how fast it steps, and where its compiled code is kept."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stream_rnn.doctor.findings import Finding
from stream_rnn.errors import ModelError
from stream_rnn.model.file import load_model
from stream_rnn.predictor import Predictor
from stream_rnn.stepper import advance

STEPS = 500
BUSY = 0.5  # of the time between two samples


def check_model(
    path: Path, name: str, environment: Mapping[str, str]
) -> tuple[list[Finding], Predictor | None]:
    """Load, compile, prove by the golden vector, and measure.

    Args:
        path: Model file.
        name: What it is called in the finding.
        environment: What numba is told.

    Returns:
        The findings, and the predictor if there is one.
    """
    try:
        model = load_model(path)
    except ModelError as error:
        do = (
            "copy it again from where it was made"
            if os.access(path, os.F_OK)
            else "set model.path, or make one: `stream-rnn train`"
        )
        return [Finding("model", "fail", str(error), do)], None
    began = time.perf_counter()
    try:
        predictor = Predictor(model)
    except ModelError as error:
        do = "this machine computes something else: empty the cache of compiled code, then reinstall numba"
        return [Finding("model", "fail", str(error), do)], None
    seconds = time.perf_counter() - began
    rows = len(model.golden_x)
    proof = f"golden vector of {rows} rows equal" if rows else "it has no golden vector"
    found = f"{name}: {model.card.architecture}, {model.hash}; {proof}"
    rate_hz = model.card.rate_hz
    steps = step_finding(_step_times_us(predictor), rate_hz)
    return [Finding("model", "ok", found), check_cache(seconds, environment), steps], predictor


def check_residuals(predictor: Predictor) -> Finding:
    """Whether the model can make the intervals that a config asks for."""
    try:
        residuals = predictor.model.calibration()
    except ModelError as error:
        return Finding("interval", "fail", str(error), "train the model again, or leave [interval] out")
    return Finding("interval", "ok", f"from {len(residuals)} quantiles of what the model was wrong by")


def step_finding(times_us: list[float], rate_hz: float) -> Finding:
    """Judge how long a step takes.

    Args:
        times_us: Of each step, back to back.
        rate_hz: Samples a second of one stream.
    """
    p50, p99 = (float(p) for p in np.percentile(times_us, (50, 99)))
    streams = 1e6 / (p50 * rate_hz)
    found = (
        f"{p50:.1f} us (p50), {p99:.1f} us (p99); "
        f"a core steps {streams:,.0f} streams of {rate_hz:g} Hz, without their transport"
    )
    if p99 * rate_hz > BUSY * 1e6:
        do = "too large a model for this machine at this rate: take a smaller one, or a faster core"
        return Finding("step", "warn", found, do)
    return Finding("step", "ok", found)


def check_cache(seconds: float, environment: Mapping[str, str]) -> Finding:
    """Judge where compiled code is kept.

    Args:
        seconds: What making the predictor took.
        environment: What numba is told.
    """
    stats = getattr(advance, "stats", None)
    if stats is None:
        do = "unset NUMBA_DISABLE_JIT: a step is about a thousand times slower without"
        return Finding("cache", "warn", "kernels are not compiled", do)
    return cache_finding(
        str(stats.cache_path or ""),
        environment.get("NUMBA_CACHE_DIR", ""),
        seconds,
        warm=not stats.cache_misses,
    )


def cache_finding(used: str, wanted: str, seconds: float, *, warm: bool) -> Finding:
    """Judge a cache of compiled code.

    Args:
        used: The folder in use; empty for none.
        wanted: What `NUMBA_CACHE_DIR` asks for; empty for nothing.
        seconds: What loading or compiling took.
        warm: Whether everything was there.
    """
    state = f"warm, loaded in {seconds:.2f} s" if warm else f"was cold, compiled in {seconds:.1f} s; now warm"
    if not used:
        do = (
            "set NUMBA_CACHE_DIR to a folder that the daemon's user may write: else every start compiles anew"
        )
        return Finding("cache", "warn", f"none: compiled in {seconds:.1f} s", do)
    found = f"{used}: {state}"
    if wanted and not Path(used).is_relative_to(wanted):
        do = f"NUMBA_CACHE_DIR is {wanted}, which cannot be written: make it writable, or name another folder"
        return Finding("cache", "warn", found, do)
    return Finding("cache", "ok", found)


def _step_times_us(predictor: Predictor) -> list[float]:
    memory = predictor.new_memory().data
    x = np.zeros(predictor.inputs, dtype=np.float32)
    y = np.empty(predictor.outputs, dtype=np.float32)
    times_us = []
    for _ in range(STEPS):
        began = time.perf_counter_ns()
        predictor.advance(memory, 0, x, y)
        times_us.append((time.perf_counter_ns() - began) / 1e3)
    return times_us
