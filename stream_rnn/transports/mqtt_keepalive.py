"""Signs of life: ours where nothing else was said, and the broker's."""

import asyncio
from collections.abc import Callable

SILENT_TICKS = 3  # half keepalives without a sign of life: the connection is dead


class Signs:
    """What was noticed since the last look.

    Attributes:
        heard: Something came from the broker.
        spoke: Something went to it.
    """

    heard = spoke = False


class Keepalive:
    """Looks twice in every keepalive time.

    Args:
        keepalive_s: How often the broker wants to hear from us; 0: it does not mind.
        ping: Asks the broker for a sign of life.
        dead: Takes the seconds for which nothing was heard; called at most once.
        signs: Who writes and reads sets them.
    """

    def __init__(
        self, keepalive_s: int, ping: Callable[[], None], dead: Callable[[float], None], signs: Signs
    ) -> None:
        self._signs = signs
        self._every_s = keepalive_s / 2
        self._ping, self._dead = ping, dead
        self._silent = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._every_s, self._tick) if keepalive_s else None

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        signs = self._signs
        self._silent = 0 if signs.heard else self._silent + 1
        if self._silent >= SILENT_TICKS:
            self._dead(self._silent * self._every_s)
            return
        if not (signs.spoke and signs.heard):
            self._ping()
        signs.heard = signs.spoke = False
        self._timer = self._loop.call_later(self._every_s, self._tick)
