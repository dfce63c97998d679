"""What a fit does unless it is told otherwise: chosen from the training rows, each choice with its reason.

Test rows are not looked at. Nothing here knows a data set: only whether samples are counts, how skewed they
are, how fast the targets move, how many recordings there are and how long they last.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_rnn.recordings.table import Recording

Values: TypeAlias = NDArray[np.float64]

COUNT_SHARE = 0.999
"""Of samples that are whole numbers from 0 on, in counts."""
SKEWED = 2.0
"""Skewness from which a logarithm is tried."""
BIN_SHARE = 0.2
"""Of the time in which a target's autocorrelation falls to half: how long a bin is."""
BIN_MS = (10.0, 100.0)
"""Shortest and longest bin."""
PRIOR_S = 2.0
"""As how much of a stream its training rows count where recordings differ in level."""
RAW_HZ = 500.0
"""Rate from which samples of both signs are taken for raw electrodes, not for features."""
WINDOW_S, EPOCHS, LEAST_EPOCHS = 4.0, 100, 20
ENOUGH_MIN = 25.0
"""Minutes of training rows that see EPOCHS passes; more of them see fewer."""


class Choice(NamedTuple):
    """An option's value, and why."""

    name: str
    value: object
    reason: str


def choices(recordings: list[Recording]) -> list[Choice]:
    """Options for these recordings, by the name of `options.Options`."""
    first = recordings[0]
    x = np.concatenate([recording.x[~recording.is_test] for recording in recordings]).astype(np.float64)
    return [
        *_features(x, first.rate_hz),
        _bin(recordings),
        *_length(recordings, len(x)),
        *_levels(sum(len(recording.spans()) for recording in recordings)),
    ]


def _features(x: Values, rate_hz: float) -> list[Choice]:
    """What is computed of the samples."""
    finite = x[np.isfinite(x)]
    if (finite >= 0).all():
        if (finite == np.round(finite)).mean() >= COUNT_SHARE:
            return [Choice("logarithm", value=False, reason="samples are counts: summed over a bin")]
        skewed = np.nanmedian([skewness(column) for column in x.T])
        if skewed > SKEWED:
            return [
                Choice(
                    "logarithm",
                    value=True,
                    reason=f"samples are positive and skewed ({skewed:.1f}), as envelopes",
                )
            ]
        return [
            Choice("logarithm", value=False, reason=f"samples are positive and hardly skewed ({skewed:.1f})")
        ]
    if rate_hz >= RAW_HZ:
        why = f"samples of both signs at {rate_hz:g} Hz: raw electrodes, described over a bin"
        return [
            Choice("statistics", ("mean_absolute", "waveform_length"), why),
            Choice("logarithm", value=True, reason="what is described over a bin is positive and skewed"),
        ]
    return [Choice("logarithm", value=False, reason="samples have both signs")]


def skewness(values: Values) -> float:
    """Third standardised moment of the finite values; NaN where they do not vary."""
    v = values[np.isfinite(values)]
    spread = v.std() if len(v) else 0.0
    return float((((v - v.mean()) / spread) ** 3).mean()) if spread > 0 else float("nan")


def _bin(recordings: list[Recording]) -> Choice:
    """How long a bin is: short beside the time in which targets change."""
    half_s = float(np.median([half_time_s(recording) for recording in recordings]))
    bin_ms = float(np.clip(1000 * BIN_SHARE * half_s, *BIN_MS))
    sample_ms = 1000 / recordings[0].rate_hz
    whole = max(1, round(bin_ms / sample_ms)) * sample_ms
    return Choice("bin_ms", round(whole, 6), f"targets keep half of themselves for {1000 * half_s:.0f} ms")


def half_time_s(recording: Recording) -> float:
    """Seconds until the autocorrelation of the training targets has fallen to half; median over targets."""
    found = []
    for span in recording.spans():
        rows = slice(span.start, span.stop)
        y = recording.y[rows][~recording.is_test[rows]].astype(np.float64)
        for column in y.T:
            v = column[np.isfinite(column)]
            if len(v) > 1 and v.std() > 0:
                found.append(_half_lag(v - v.mean()) / recording.rate_hz)
    return float(np.median(found)) if found else 0.0


def _half_lag(v: Values) -> int:
    """First lag at which the autocorrelation of values around 0 is below half."""
    size = 1 << (2 * len(v) - 1).bit_length()
    power = np.abs(np.fft.rfft(v, size)) ** 2
    correlation = np.fft.irfft(power, size)[: len(v)]
    below = np.flatnonzero(correlation < 0.5 * correlation[0])
    return int(below[0]) if len(below) else len(v)


def _length(recordings: list[Recording], rows: int) -> list[Choice]:
    """How far the gradient goes back, and how often the data are seen."""
    minutes = rows / recordings[0].rate_hz / 60
    epochs = EPOCHS if minutes <= ENOUGH_MIN else max(LEAST_EPOCHS, round(EPOCHS * ENOUGH_MIN / minutes))
    longest = max(span.stop - span.start for recording in recordings for span in recording.spans())
    window_s = min(WINDOW_S, longest / recordings[0].rate_hz)
    return [
        Choice("window_s", round(window_s, 3), "what came longer ago hardly counts"),
        Choice("epochs", epochs, f"{minutes:.1f} minutes to train on"),
    ]


def _levels(spans: int) -> list[Choice]:
    """Whether each stream is normalised by itself, too."""
    if spans > 1:
        return [Choice("prior_s", PRIOR_S, f"{spans} recordings, whose levels may differ")]
    return [Choice("prior_s", 0.0, "one recording")]
