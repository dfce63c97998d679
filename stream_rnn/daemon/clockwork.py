"""What a daemon does by the clock: its numbers told, idle streams put away."""

import asyncio
import time
from collections.abc import Callable, Sequence

EVICTION_S = 1.0


async def regularly(every_s: Callable[[], float], act: Callable[[], None]) -> None:
    """Act once every so often, for ever; what was late makes nothing come twice.

    Args:
        every_s: Seconds from one to the next, asked each time: a reload may change them.
        act: What to do.
    """
    due = time.monotonic()
    while True:
        due = max(due + every_s(), time.monotonic())
        await asyncio.sleep(due - time.monotonic())
        act()


async def evict_idle(
    idle_s: Callable[[], float],
    evict: Callable[[int], Sequence[str]],
    report: Callable[[str, str, str], None],
) -> None:
    """Put away what was idle for so long, for ever.

    Args:
        idle_s: Seconds a stream may be idle, asked each time.
        evict: Puts away all streams without a sample since that monotonic time, ns, and names them.
        report: Takes (kind, detail, stream).
    """
    while True:
        seconds = idle_s()
        await asyncio.sleep(min(EVICTION_S, seconds))
        if evicted := evict(time.monotonic_ns() - int(seconds * 1e9)):
            report("evicted", f"{len(evicted)} idle streams, the first {evicted[0]!r}", evicted[0])
