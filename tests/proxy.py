"""A TCP proxy that can stop forwarding without closing anything, as a network does that was cut."""

import asyncio
import contextlib
from typing import Self


class Proxy:
    """Forwards connections to a port.

    Args:
        target: Port of 127.0.0.1 that is spoken to.

    Attributes:
        port: Where to connect instead.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._cut: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Forward nothing more over what is connected now, in neither direction; close nothing."""
        for event in self._cut:
            event.set()
        self._cut.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        cut = asyncio.Event()
        self._cut.append(cut)
        self._begin(_forward(reader, back, cut))
        self._begin(_forward(there, writer, cut))

    def _begin(self, work: "asyncio.Future[None] | object") -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type, var-annotated]
        self._tasks.add(task)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
    """Until one side ends or the network is cut; then hold both ends open until cancelled."""
    try:
        while (data := await reader.read(1 << 16)) and not cut.is_set():
            writer.write(data)
        if cut.is_set():
            await asyncio.Event().wait()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
