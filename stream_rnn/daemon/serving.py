"""What is open: one task for each way in and each service, closed and opened again by name."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias

from stream_rnn.errors import StreamRnnError

Ready: TypeAlias = Callable[[], Awaitable[object]]
"""Returns once something can be reached."""


class Serving:
    """The tasks of a daemon.

    Args:
        tasks: The group they run in: what is not lenient ends it by failing.
        report: Takes failed.

    Attributes:
        failed: What could not be opened, and why.
    """

    def __init__(self, tasks: asyncio.TaskGroup, report: Callable[[str, str], None]) -> None:
        self.failed: dict[str, str] = {}
        self._group, self._report = tasks, report
        self._tasks: dict[str, asyncio.Task[object]] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def begin(
        self, name: str, work: Coroutine[Any, Any, object], ready: Ready | None, *, lenient: bool
    ) -> None:
        """Open one; a lenient one that cannot be opened is told, and the rest serves on."""
        task: Coroutine[Any, Any, object] = self._leniently(name, work) if lenient else work
        if ready is not None:
            self._opening[name] = self._group.create_task(_opened(ready), name=f"{name} opens")
        self._tasks[name] = self._group.create_task(task, name=name)

    async def ready(self) -> None:
        """Return once everything that was begun and not closed again can be reached."""
        while opening := [task for task in self._opening.values() if not task.done()]:
            await asyncio.wait(opening)

    async def close(self, names: Iterable[str]) -> None:
        """Close these, where they are open, and return once they said goodbye."""
        closing = []
        for name in names:
            closing += [tasks.pop(name) for tasks in (self._tasks, self._opening) if name in tasks]
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def cancel(self) -> None:
        """Have all say goodbye."""
        for task in (*self._tasks.values(), *self._opening.values()):
            task.cancel()

    async def _leniently(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except StreamRnnError as error:
            self.failed[name] = str(error)
            if name in self._opening:
                self._opening[name].cancel()
            self._report("failed", str(error))


async def _opened(ready: Ready) -> None:
    await ready()
