"""A broker that says exactly what a test wants."""

import asyncio
import contextlib
from typing import Self


class Peer:
    """The broker's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def next(self) -> bytes:
        """One packet: its first byte and its body."""
        async with asyncio.timeout(10):
            head = await self._reader.readexactly(2)
            assert head[1] < 128  # none here is longer
            return head[:1] + await self._reader.readexactly(head[1])

    def say(self, *packets: bytes) -> None:
        self._writer.write(b"".join(packets))

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class ScriptedBroker:
    """Takes connections; the test plays the broker."""

    def __init__(self) -> None:
        self.port = 0
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._known: list[Peer] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self._known:
            await peer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._known.append(peer)
        self._peers.put_nowait(peer)

    async def accept(self, connack: bytes = b"\x20\x02\0\0") -> Peer:
        """The next connection, accepted."""
        async with asyncio.timeout(10):
            peer = await self._peers.get()
        assert (await peer.next())[:1] == b"\x10"
        peer.say(connack)
        return peer
