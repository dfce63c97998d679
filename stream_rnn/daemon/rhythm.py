"""When the next sample of a stream is due, from when the last ones came. Pure: time is passed in."""

STEADY_AFTER = 4
"""Intervals seen before a rhythm is believed."""
MOST_SPREAD = 0.25
"""Of a period: what comes less evenly is not waited for."""
WEIGHT = 0.25
"""Of the newest interval in the running mean."""


class Rhythm:
    """The period of one stream and how evenly it is kept.

    Attributes:
        period_ns: Mean time between two samples; 0 before the second.
        spread_ns: Mean deviation from it.
    """

    __slots__ = ("_last_ns", "_seen", "period_ns", "spread_ns")

    def __init__(self, now_ns: int) -> None:
        self.period_ns = self.spread_ns = 0.0
        self._last_ns, self._seen = now_ns, 0

    def arrived(self, now_ns: int) -> None:
        """A sample came."""
        interval = now_ns - self._last_ns
        self._last_ns = now_ns
        self._seen += 1
        if self._seen == 1:
            self.period_ns = float(interval)
            return
        off = interval - self.period_ns
        self.period_ns += WEIGHT * off
        self.spread_ns += WEIGHT * (abs(off) - self.spread_ns)

    @property
    def steady(self) -> bool:
        """Whether the next sample can be waited for."""
        return self._seen > STEADY_AFTER and self.spread_ns <= MOST_SPREAD * self.period_ns

    @property
    def due_ns(self) -> int:
        """When the next sample should come."""
        return self._last_ns + int(self.period_ns)
