"""A TCP proxy that can stop forwarding without closing anything, as a network does that was cut."""

import asyncio
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
        self._ends: list[_End] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for end in self._ends:
            if end.transport is not None:
                end.transport.abort()

    def cut(self) -> None:
        """Forward nothing more over what is connected now, in neither direction; close nothing."""
        for end in self._ends:
            end.cut = True

    def _accept(self) -> "_End":
        near, far = _End(), _End()
        near.other, far.other = far, near
        self._ends += [near, far]
        loop = asyncio.get_running_loop()
        near.opening = loop.create_task(self._dial(loop, far), name="proxy")
        return near

    async def _dial(self, loop: asyncio.AbstractEventLoop, far: "_End") -> None:
        await loop.create_connection(lambda: far, "127.0.0.1", self._target)


class _End(asyncio.Protocol):
    """One end of a connection; what comes before the other end is there waits."""

    other: "_End"
    opening: "asyncio.Task[None] | None" = None

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.cut = False
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        for data in self._waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.cut:
            return
        if self.other.transport is None:
            self.other._waiting.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.other.transport is not None and not self.cut:
            self.other.transport.close()
