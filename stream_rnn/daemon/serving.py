"""What is open: one task for each way in and each service, closed and opened again by name."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from stream_rnn.errors import StreamRnnError


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
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def begin(self, name: str, work: Coroutine[Any, Any, None], *, lenient: bool) -> None:
        """Open one; a lenient one that cannot be opened is told, and the rest serves on."""
        task = self._leniently(name, work) if lenient else work
        self._tasks[name] = self._group.create_task(task, name=name)

    async def close(self, names: Iterable[str]) -> None:
        """Close these, where they are open, and return once they said goodbye."""
        closing = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def cancel(self) -> None:
        """Have all say goodbye."""
        for task in self._tasks.values():
            task.cancel()

    async def _leniently(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StreamRnnError as error:
            self.failed[name] = str(error)
            self._report("failed", str(error))
