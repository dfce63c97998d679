"""Spike times to counts at a sample rate: causal, every spike in exactly one row."""

import numpy as np
from numpy.typing import ArrayLike

from stream_rnn.errors import RecordingError
from stream_rnn.sample import F32


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

    Row t counts those with start_s + t / rate_hz <= time < start_s + (t + 1) / rate_hz, in float64: a spike
    on a border belongs to the row that begins there. So a row is known when its time is over, and nothing
    of it comes from later. Spikes before `start_s` or after the last row are left out.

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
        RecordingError: Times and units do not fit together, a time is no number, or a unit is out of range.
    """
    when, who = np.asarray(times, dtype=np.float64), np.asarray(units)
    if when.ndim != 1 or when.shape != who.shape:
        raise RecordingError(f"spikes: expected a unit for each time, got {who.shape} for {when.shape}")
    if not np.isfinite(when).all():
        row = int(np.argmin(np.isfinite(when)))
        raise RecordingError(f"spikes: expected finite times, got {when[row]} at {row}")
    if who.size and who.dtype.kind not in "iu":
        raise RecordingError(f"spikes: expected units as whole numbers, got {who.dtype}")
    if not 0 < rate_hz < np.inf:
        raise RecordingError(f"spikes: expected rate_hz above 0, got {rate_hz:g}")
    who = who.astype(np.int64)
    D = channels if channels is not None else int(who.max(initial=-1)) + 1
    outside = (who < 0) | (who >= D)
    if outside.any():
        row = int(outside.argmax())
        raise RecordingError(f"spikes: expected units from 0 to {D - 1}, got {who[row]} at {row}")
    last = int((when.max(initial=start_s) - start_s) * rate_hz) + 2  # by one too many, rather than too few
    edges = start_s + np.arange((rows if rows is not None else last) + 1) / rate_hz
    row_of = np.searchsorted(edges, when, side="right") - 1
    inside = (row_of >= 0) & (row_of < len(edges) - 1)
    T = rows if rows is not None else int(row_of[inside].max(initial=-1)) + 1
    counts = np.bincount(row_of[inside] * D + who[inside], minlength=T * D)
    return counts.reshape(T, D).astype(np.float32)
