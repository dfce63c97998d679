"""Prediction intervals: as wide as residuals say, and then as the truth says that comes later.

A model keeps some hundred quantiles of its signed residuals, truth - prediction, of each output. Those at
(1 - coverage) / 2 from either end are the margins that an interval begins with: split conformal prediction
(Vovk et al. 2005; Lei et al. 2018, signed as in Romano et al. 2019). Where the truth comes later, either
margin is a quantile that is tracked online (Gibbs & Candes 2021; Angelopoulos, Candes & Tibshirani 2023,
"Conformal PID control", its P): a miss on its side moves it outwards, anything else a little inwards.

What moves by steps is u, of a margin q = centre + spread * sinh(u): where errors are as calibrated its steps
are nearly even, and where they grew tenfold so did the steps.
"""

from math import asinh, isfinite, sinh
from typing import NamedTuple

import msgspec
import numpy as np

from stream_rnn.sample import F32

_F32 = np.dtype(np.float32)

QUANTILES = 499
"""Of the residuals of an output kept in a model: coverages that are multiples of 0.004 fall on one."""
LEAST = 50
"""Residuals of an output without which nothing is said about it."""
PACE = 0.02
"""Step of a margin's u; where errors are as calibrated, 0.7 of it is the step in widths of the interval."""
MOST_U = 40.0
"""Where a margin is 1e17 times its calibrated width: further would overflow."""
NOTHING = -1
"""In the place of a number: no prediction waits here."""
BYTES = "<i8", "<f4", "<f8"


def quantiles(residuals: F32) -> F32 | None:
    """What a model keeps of its residuals: sorted, (QUANTILES, K); None where an output has too few.

    Row j is the quantile at (j + 1) / (QUANTILES + 1): as if these rows were the residuals.

    Args:
        residuals: Truth - prediction, (N, K); NaN where there is no truth.
    """
    columns = [column[np.isfinite(column)] for column in residuals.T]
    if min(map(len, columns)) < LEAST:
        return None
    levels = np.arange(1, QUANTILES + 1) / (QUANTILES + 1)
    table = [np.quantile(column.astype(np.float64), levels, method="weibull") for column in columns]
    return np.ascontiguousarray(np.array(table, dtype=np.float32).T)


def margins(table: F32, coverage: float) -> F32:
    """What an interval of a stated coverage adds to a prediction, (2, K): its low end, its high end.

    Of R exchangeable residuals and a new one, the new one lies between these two at least so often: the
    order statistics floor((R + 1) (1 - coverage) / 2) and its mirror image.

    Args:
        table: Residuals in ascending order, (R, K).
        coverage: Share of truths inside, from 0 to 1.
    """
    R = len(table)
    at = max(1, int((R + 1) * (1.0 - coverage) / 2 + 1e-9)) - 1  # 1e-9: 0.025 * 1000 is to be 25
    return np.stack([table[at], table[R - 1 - at]])


def around(y: F32, margins: F32) -> F32:
    """The interval, (2, K), of a prediction, (K,): numpy broadcasts an assignment sooner than a sum."""
    bounds = np.empty(margins.shape, _F32)
    bounds[:] = y
    bounds += margins
    return bounds


class Interval:
    """How the intervals of a model's predictions are made: one for all streams.

    Args:
        table: Residuals in ascending order, (R, K).
        coverage: Share of truths that is to lie inside.
        pace: Step of a margin's u.
        pending: Predictions of a stream that wait for their truth; 0 where none comes.

    Attributes:
        centre, spread: Middle and half the width of what a stream's intervals begin with, by output.
        start: The u of their upper end, and minus that of their lower end, by output.
        margins: What they begin with, (2, K).
        outwards, inwards: How far a truth beyond an end moves its u, and any other.
        told: Everything it was made from.
    """

    def __init__(self, table: F32, coverage: float, pace: float = PACE, pending: int = 0) -> None:
        self.coverage, self.pending = coverage, pending
        ends = list(zip(*margins(table, coverage).tolist(), strict=True))
        self.centre = [(low + high) / 2 for low, high in ends]
        self.spread = [(high - low) / 2 or 1.0 for low, high in ends]
        self.start = [asinh(1.0) if high > low else 0.0 for low, high in ends]
        self.margins = self.margins_of([-u for u in self.start], self.start)
        share = (1.0 - coverage) / 2  # of truths that may lie beyond either end
        self.outwards, self.inwards = pace * (1.0 - share), pace * share
        self.told = coverage, pace, pending, table.tobytes()

    def margins_of(self, lows: list[float], highs: list[float]) -> F32:
        """The margins, (2, K), of the u of the lower ends and of the upper ends."""
        centre, spread = self.centre, self.spread
        low = [c + s * sinh(u) for c, s, u in zip(centre, spread, lows, strict=True)]
        high = [c + s * sinh(u) for c, s, u in zip(centre, spread, highs, strict=True)]
        return np.array((low, high), dtype=_F32)

    def same(self, other: "Interval") -> bool:
        """Whether another makes the same intervals: what streams have learnt goes on meaning the same."""
        return self.told == other.told


class Taken(NamedTuple):
    """What a truth said.

    Attributes:
        known: Outputs whose truth is a number.
        inside: How many of them lay in their interval.
    """

    known: int
    inside: int


class Adapted:
    """The margins of one stream, and its predictions that wait for their truth.

    After T truths, the share of them beyond an end differs from the one it is to be by no more than
    ((asinh(B) + asinh(1)) / pace + 1) / T, whatever the residuals are, where none lies further than B spreads
    from the centre: each moves u by a fixed step, and beyond the farthest it is not moved further
    (Angelopoulos et al. 2023, proposition 1). Of an interval that shrank to a point it is less.

    Attributes:
        margins: What is added to a prediction, (2, K).
    """

    __slots__ = ("_bounds", "_highs", "_interval", "_lows", "_seqs", "margins")

    def __init__(self, interval: Interval) -> None:
        self._interval = interval
        self.margins = interval.margins
        self._lows, self._highs = [-u for u in interval.start], list(interval.start)  # u of each end
        self._seqs = np.full(interval.pending, NOTHING, dtype=np.int64)
        self._bounds = np.empty((interval.pending, *interval.margins.shape), dtype=np.float32)

    def remember(self, seq: int, bounds: F32) -> None:
        """Let a prediction's interval, (2, K), wait for its truth: the last `pending` do."""
        at = seq % len(self._seqs)
        self._seqs[at] = seq
        self._bounds[at] = bounds

    def take(self, seq: int, truth: F32) -> Taken | None:
        """Learn from what a prediction should have been; None where none of this number waits.

        Args:
            seq: Its number.
            truth: Outputs, (K,); NaN where there is none.
        """
        at = seq % len(self._seqs)
        if seq < 0 or self._seqs[at] != seq:
            return None
        self._seqs[at] = NOTHING
        return self.learn(self._bounds[at], truth)

    def learn(self, bounds: F32, truth: F32) -> Taken:
        """Move the margins after an interval, (2, K), and the truth, (K,).

        One by one: of a few outputs numpy would take some ten times longer.
        """
        interval, known, inside = self._interval, 0, 0
        out, into, lows, highs = interval.outwards, interval.inwards, self._lows, self._highs
        for k, (y, low, high) in enumerate(zip(truth.tolist(), *bounds.tolist(), strict=True)):
            if not (isfinite(y) and isfinite(low) and isfinite(high)):
                continue
            below, above = y < low, y > high
            known += 1
            inside += not (below or above)
            u = min(max(lows[k] - out if below else lows[k] + into, -MOST_U), MOST_U)
            v = min(max(highs[k] + out if above else highs[k] - into, -MOST_U), MOST_U)
            lows[k], highs[k] = (u, v) if u <= v else (v, u)  # steps inwards may cross
        self.margins = interval.margins_of(lows, highs)
        return Taken(known, inside)

    def forget_pending(self) -> None:
        """Let nothing wait: numbers begin anew."""
        self._seqs[:] = NOTHING

    def to_bytes(self) -> bytes:
        """Margins and what waits."""
        waits = np.argsort(self._seqs)[np.count_nonzero(self._seqs < 0) :]  # by number: the newest come last
        values = self._seqs[waits], self._bounds[waits], np.array([self._lows, self._highs])
        arrays = [array.astype(kind).tobytes() for array, kind in zip(values, BYTES, strict=True)]
        return msgspec.msgpack.encode([self._interval.coverage, *arrays])

    @classmethod
    def from_bytes(cls, data: bytes, interval: Interval) -> "Adapted":
        """What `to_bytes` put away; as calibrated where that was of another coverage.

        Raises:
            ValueError: These are other bytes, or of another number of outputs.
        """
        adapted = cls(interval)
        kind = tuple[float, bytes, bytes, bytes]
        coverage, *stored = msgspec.msgpack.decode(data, type=kind)
        seqs, bounds, u = (np.frombuffer(raw, dtype) for raw, dtype in zip(stored, BYTES, strict=True))
        shape = interval.margins.shape
        if not (np.abs(u) <= MOST_U).all() or (seqs < 0).any():  # NaN is no number either
            raise ValueError("numbers that no margin has")
        if coverage == interval.coverage:
            adapted._lows, adapted._highs = u.reshape(shape).tolist()
            adapted.margins = interval.margins_of(adapted._lows, adapted._highs)
            for seq, bound in zip(seqs.tolist(), bounds.reshape(-1, *shape), strict=True):
                adapted.remember(seq, bound)
        return adapted
