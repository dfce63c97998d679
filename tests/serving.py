"""A daemon over the transport in memory, as nothing else reaches it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from stream_rnn.config.load import load_config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.daemon.sources import Source
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import AnyWire


@contextlib.asynccontextmanager
async def serving_in_memory(
    model: Model, /, wire: AnyWire = "json", *, reply: bool = False, **sections: dict[str, Any]
) -> AsyncIterator[tuple[Daemon, MemoryTransport]]:
    """A daemon that is ready, and the transport to it, for as long as the context lasts.

    Args:
        model: What it serves.
        wire: What samples and predictions look like.
        reply: Whether the sender gets the answers, instead of topics.
        sections: Of the config, beside [mqtt].
    """
    flags = {"model": {"path": "unused"}, "mqtt": {}, **sections}
    daemon = Daemon(load_config(None, {}, flags), Predictor(model), lambda *_: None)
    daemon.open_state()
    daemon.pipeline.notes.recorder = daemon._new_recorder(again=False)
    transport = MemoryTransport(on_connect=daemon.births)
    daemon.add("memory", Source(transport, wire, None if reply else transport))
    task = asyncio.create_task(daemon.run(), name="daemon")
    await transport.ready()
    try:
        yield daemon, transport
    finally:
        daemon.stop()
        await task
