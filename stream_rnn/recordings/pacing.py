"""When each instant of a replay is due: a schedule that can be paused, stepped and sped up. Pure."""

FASTEST, SLOWEST = 1024.0, 1 / 1024


class Pace:
    """The clock of a replay.

    Args:
        now_ns: Monotonic time of its instant 0.
        rate: Times the recorded speed.
        paused: Wait for `toggle` or `step`.
    """

    def __init__(self, now_ns: int, rate: float, *, paused: bool = False) -> None:
        self.rate, self.paused = rate, paused
        self._steps = 0
        self._base_s, self._base_ns = 0.0, now_ns

    def position_s(self, now_ns: int) -> float:
        """Where in the recording it is."""
        if self.paused:
            return self._base_s
        return self._base_s + (now_ns - self._base_ns) / 1e9 * self.rate

    def due_ns(self, offset_s: float) -> int | None:
        """When an instant of the recording is due, on the monotonic clock; None while that cannot be said."""
        if self.paused:
            return None
        return self._base_ns + round((offset_s - self._base_s) / self.rate * 1e9)

    def toggle(self, now_ns: int) -> None:
        """Pause, or go on from there."""
        self._rebase(now_ns)
        self.paused = not self.paused
        self._steps = 0

    def step(self) -> None:
        """While paused: one more sample."""
        if self.paused:
            self._steps += 1

    def take_step(self, offset_s: float) -> bool:
        """Use up one step, for the sample at this instant; False when there is none."""
        if not self._steps:
            return False
        self._steps -= 1
        self._base_s = max(self._base_s, offset_s)
        return True

    def speed(self, factor: float, now_ns: int) -> None:
        """Go on faster or slower from here."""
        self._rebase(now_ns)
        self.rate = min(FASTEST, max(SLOWEST, self.rate * factor))

    def _rebase(self, now_ns: int) -> None:
        self._base_s, self._base_ns = self.position_s(now_ns), now_ns
