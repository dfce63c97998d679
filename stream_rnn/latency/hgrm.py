"""Histograms as `.hgrm` text, the percentile distribution that HdrHistogram's plotters read; in microseconds.

The layout is that of HdrHistogram's `outputPercentileDistribution` with five ticks for each half distance.
"""

import math
from collections.abc import Iterator

import numpy as np

from stream_rnn.latency.histogram import HALF, Histogram, middle_ns

TICKS = 5


def hgrm(histogram: Histogram) -> str:
    """The distribution of one histogram.

    Args:
        histogram: What was counted.
    """
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for percent, value_ns, count in _ticks(histogram):
        line = f"{value_ns / 1000:12.3f} {percent / 100:2.12f} {count:10d}"
        lines.append(line if percent == 100 else f"{line} {100 / (100 - percent):14.2f}")
    mean, deviation = _moments(histogram)
    most = histogram.max_ns / 1000
    lines += [
        f"#[Mean    = {mean / 1000:12.3f}, StdDeviation   = {deviation / 1000:12.3f}]",
        f"#[Max     = {most:12.3f}, Total count    = {histogram.count:12d}]",
        f"#[Buckets = {len(histogram.counts) // HALF:12d}, SubBuckets     = {2 * HALF:12d}]",
    ]
    return "\n".join(lines) + "\n"


def _ticks(histogram: Histogram) -> Iterator[tuple[float, int, int]]:
    """(percent, value at it, durations up to that value), ever denser towards 100."""
    total = histogram.count
    cumulative = np.cumsum(histogram.counts)
    percent = 0.0
    while total:
        rank = max(1, math.ceil(total * percent / 100 - 1e-9))
        bucket = int(np.searchsorted(cumulative, rank))
        if cumulative[bucket] >= total:
            break
        yield percent, middle_ns(bucket), int(cumulative[bucket])
        half_distance = 2.0 ** (math.floor(math.log2(100 / (100 - percent))) + 1)
        percent += 100 / (TICKS * half_distance)
    if total:
        yield 100.0, histogram.max_ns, total


def _moments(histogram: Histogram) -> tuple[float, float]:
    """Mean and standard deviation, in nanoseconds."""
    count = histogram.count
    if not count:
        return 0.0, 0.0
    mean = histogram.total_ns / count
    buckets = np.flatnonzero(histogram.counts)
    values = np.array([middle_ns(int(bucket)) for bucket in buckets], dtype=np.float64)
    return mean, math.sqrt(float(histogram.counts[buckets] @ (values - mean) ** 2) / count)
