"""Spike times to counts at a sample rate: causal, every spike in exactly one row, as in the daemon."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream_rnn.errors import RecordingError
from stream_rnn.sample import F32, I64
from stream_rnn.session.bins import SECOND_NS, Grid

MOST_S = 9e9
"""Seconds: so many nanoseconds an int64 holds."""
MOST_NS = 2**63 - 1


def bin_spikes(
    times: ArrayLike,
    units: ArrayLike,
    rate_hz: float,
    *,
    channels: int | None = None,
    rows: int | None = None,
    start_s: float = 0.0,
) -> F32:
    """Count the spikes of each unit in each row.

    Row t counts those with start_s + t / rate_hz <= time < start_s + (t + 1) / rate_hz, where times, start
    and borders are whole nanoseconds, each rounded to the nearest, halves up: a spike on a border belongs to
    the row that begins there. So a row is known when its time is over, and nothing of it comes from later.
    Spikes before `start_s` or after the last row are left out.

    A daemon makes the same rows of the same spikes in packets, the first of which begins at `start_s`. As
    float64, seconds tell nanoseconds apart up to some 50 days: from epoch times, subtract the start first.

    >>> bin_spikes([0.0, 0.01, 0.019, 0.02], [0, 1, 1, 0], rate_hz=100)
    array([[1., 0.],
           [0., 2.],
           [1., 0.]], dtype=float32)

    Args:
        times: Of the spikes, in seconds, in any order, (N,).
        units: Whose each one is, from 0, (N,).
        rate_hz: Rows a second.
        channels: Units D; else the last one that fires is the last.
        rows: Rows T; else the last spike is in the last.
        start_s: When row 0 begins, in seconds.

    Returns:
        Counts, (T, D).

    Raises:
        RecordingError: Times and units do not fit together, a time is no number or beyond 285 years, or a
            unit is out of range.
    """
    when, who = np.asarray(times, dtype=np.float64), np.asarray(units)
    if when.ndim != 1 or when.shape != who.shape:
        raise RecordingError(f"spikes: expected a unit for each time, got {who.shape} for {when.shape}")
    if not np.isfinite(when).all():
        row = int(np.argmin(np.isfinite(when)))
        raise RecordingError(f"spikes: expected finite times, got {when[row]} at {row}")
    if who.size and who.dtype.kind not in "iu":
        raise RecordingError(f"spikes: expected units as whole numbers, got {who.dtype}")
    if not 0 < rate_hz <= SECOND_NS:
        raise RecordingError(f"spikes: expected rate_hz above 0, up to one a nanosecond, got {rate_hz:g}")
    for time in (start_s, when.min(initial=0), when.max(initial=0)):
        if not abs(time) <= MOST_S:
            raise RecordingError(f"spikes: expected times up to {MOST_S:g} s, got {time:g}")
    who = who.astype(np.int64)
    D = channels if channels is not None else int(who.max(initial=-1)) + 1
    outside = (who < 0) | (who >= D)
    if outside.any():
        row = int(outside.argmax())
        raise RecordingError(f"spikes: expected units from 0 to {D - 1}, got {who[row]} at {row}")
    times_ns, grid = nanoseconds(when), Grid(int(nanoseconds(np.float64(start_s))), float(rate_hz))
    last = grid.row(int(times_ns.max(initial=grid.start_ns - 1)))
    T = rows if rows is not None else max(0, last + 1)
    edges = np.array([min(grid.edge(row), MOST_NS) for row in range(T + 1)])
    row_of = np.searchsorted(edges, times_ns, side="right") - 1
    inside = (row_of >= 0) & (row_of < T)
    counts = np.bincount(row_of[inside] * D + who[inside], minlength=T * D)
    return counts.reshape(T, D).astype(np.float32)


def nanoseconds(seconds: NDArray[np.float64] | np.float64) -> I64:
    """Seconds as whole nanoseconds, rounded to the nearest, halves up."""
    whole: I64 = np.floor(seconds * SECOND_NS + 0.5).astype(np.int64)
    return whole
