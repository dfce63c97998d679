"""When the next sample of a stream is due, from when the last ones came. Pure: time is passed in."""

STEADY_AFTER = 4
"""Intervals seen before a rhythm is believed."""
MOST_SPREAD = 0.25
"""Of a period: what comes less evenly is not waited for."""
STRANGE = 3
"""Intervals in a row, off by half a period, after which it is another rhythm."""
PHASE, PERIOD, SPREAD = 0.3, 0.1, 0.1
"""How much of the newest deviation goes into when the next is due, into the period, and into the spread."""


class Rhythm:
    """The period of one stream, where in it the samples come, and how evenly.

    A sample that is late alone hardly moves when the next one is due: a producer keeps its own time.

    Attributes:
        period_ns: Mean time between two samples; 0 before the second.
        spread_ns: Mean deviation from when they are due.
        due_ns: When the next sample should come.
    """

    __slots__ = ("_last_ns", "_seen", "_strange", "due_ns", "period_ns", "spread_ns")

    def __init__(self, now_ns: int) -> None:
        self.period_ns = self.spread_ns = 0.0
        self.due_ns, self._last_ns = now_ns, now_ns
        self._seen = self._strange = 0

    def arrived(self, now_ns: int) -> None:
        """A sample came."""
        off, interval = now_ns - self.due_ns, now_ns - self._last_ns
        self._last_ns = now_ns
        self._strange = self._strange + 1 if abs(off) > self.period_ns / 2 else 0
        if self._seen == 0 or self._strange == STRANGE:
            self._seen, self._strange, self.period_ns, self.spread_ns = 1, 0, float(interval), 0.0
            self.due_ns = now_ns + interval
            return
        if self._strange:  # samples are missing, or one was held up: the period may be the same
            self.due_ns = now_ns + int(self.period_ns)
            return
        self._seen += 1
        self.period_ns += max(PERIOD, 1 / self._seen) * off
        self.spread_ns += SPREAD * (abs(off) - self.spread_ns)
        self.due_ns += int(self.period_ns + PHASE * off)

    @property
    def steady(self) -> bool:
        """Whether the next sample can be waited for."""
        return self._seen > STEADY_AFTER and self.spread_ns <= MOST_SPREAD * self.period_ns
