"""A daemon with sessions on disk that is opened and not run: a test says when a checkpoint is taken."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stream_rnn.config.load import load_config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.daemon.durable import Durable
from stream_rnn.daemon.sources import Source
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Prediction
from stream_rnn.transports.base import Deliver, Message
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import CODECS, WireName
from tests.small import small_model

MODEL = small_model()
PREDICTOR = Predictor(MODEL)
XS: F32 = np.random.default_rng(2).poisson(2, (300, 5)).astype(np.float32)
TOPIC = "stream_rnn/decoder/predictions/"


def payload(x: F32, seq: int | None = None, **more: object) -> bytes:
    return msgspec.json.encode({"x": x.tolist(), **({} if seq is None else {"seq": seq}), **more})


def flags_of(folder: Path, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    state = {"path": str(folder / "s")} | sections.pop("state", {})
    return {"model": {"path": "unused"}, "mqtt": {}, "state": state, **sections}


class Run:
    """A daemon that is opened and not run, so that a test says when a checkpoint is taken."""

    def __init__(
        self,
        folder: Path,
        *,
        redelivers: bool = False,
        predictor: Predictor = PREDICTOR,
        **sections: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.told: list[tuple[str, str]] = []
        config = load_config(None, {}, flags_of(folder, **sections))
        self.daemon = Daemon(config, predictor, lambda *what: self.told.append(what))
        self.daemon.open_state()
        self.transport = MemoryTransport()
        self.transport.publish("x", b"")
        self._source = Source(self.transport, "json", self.transport, redelivers=redelivers)

    @property
    def durable(self) -> Durable:
        assert self.daemon.durable is not None
        return self.daemon.durable

    def deliver(self, *messages: Message) -> None:
        self._way()(list(messages))

    def _way(self) -> Deliver:
        return self.durable.deliver_from(self._source, self.daemon.pipeline.deliver_from)

    def feed(self, stream: str, *payloads: bytes) -> None:
        self.deliver(*(Message(stream, payload, 0, 0) for payload in payloads))

    def predictions(self, stream: str, wire: WireName = "json") -> list[Prediction]:
        found = [payload for topic, payload in self.transport.published if topic == TOPIC + stream]
        return [CODECS[wire].decode_prediction(payload)[0] for payload in found]

    def crash(self, folder: Path) -> Path:
        """What a kill at this instant leaves."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*-lock"))
        return folder

    def leave(self) -> None:
        """Let go of the files, without a word."""
        self.durable._written._journal.close()
        self.durable._store.close()


@contextlib.contextmanager
def opened(folder: Path, **sections: Any) -> Iterator[Run]:
    run = Run(folder, **sections)
    try:
        yield run
    finally:
        run.leave()


def here(folder: Path) -> Path:
    (folder / "0").mkdir(parents=True)
    return folder / "0"
