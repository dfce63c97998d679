"""Records a running daemon from outside: a subscriber of its own to samples, predictions and events."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from stream_rnn.errors import ConfigError, RecordingError, TransportError, WireError
from stream_rnn.model.file import load_model
from stream_rnn.recordings.outside import BY_SUBSCRIBER
from stream_rnn.recordings.recorder import Recorder
from stream_rnn.transports.base import Message
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.topics import TopicTemplate
from stream_rnn.wire import CODECS, AnyWire, WireName, answer_of


class _Card(msgspec.Struct):
    hash: str


class _Source(msgspec.Struct):
    wire: AnyWire
    topic: str


class Birth(msgspec.Struct):
    """What is needed of a daemon's retained `info`.

    Attributes:
        session: Its run.
        model: Its model's card.
        sources: Its ways in.
        rules: What it does with samples that do not follow each other.
        versions: What it runs on.
        cpu: Its processor.
    """

    session: str
    model: _Card
    sources: dict[str, _Source]
    rules: dict[str, Any]
    versions: dict[str, str]
    cpu: str

    def header(self) -> dict[str, str]:
        """The header of a recording of this daemon."""
        config = msgspec.json.encode({"stream": self.rules}).decode()
        made_by = {"recorded_by": BY_SUBSCRIBER, "run": self.session, "model": self.model.hash}
        return {**self.versions, "cpu": self.cpu, "config": config, **made_by}


async def birth_of(settings: MqttSettings, root: str, seconds: float) -> Birth:
    """The birth message of a running daemon.

    Args:
        settings: How to reach its broker.
        root: Its topics.
        seconds: How long to wait.

    Raises:
        TransportError: The broker cannot be reached, or knows no such daemon.
        RecordingError: The daemon is of another version.
    """
    born: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(messages: list[Message]) -> None:
        if not born.done():
            born.set_result(messages[0].payload)

    transport = MqttTransport(settings, topics=[f"{root}/info"], fail_fast=True)
    serving = asyncio.create_task(transport.serve(take), name="info")
    try:
        waiting: set[asyncio.Future[Any]] = {serving, born}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        if not born.done():
            raise TransportError(f"{root}/info: expected a daemon there, got nothing within {seconds:g} s")
        try:
            return msgspec.json.decode(born.result(), type=Birth)
        except msgspec.DecodeError as error:
            raise RecordingError(f"{root}/info: expected a daemon of this version: {error}") from None
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError, TransportError):
            await serving


class Subscriber:
    """One recording of a running daemon, begun anew when the daemon takes another model.

    Args:
        settings: How to reach the broker; its `topic` is where samples arrive.
        root: The daemon's topics.
        birth: What the daemon says it is.
        path: File to write, as of `Recorder`.
        model: The daemon's model file, kept inside so that the recording proves itself; or None.
        flush_s: Seconds between two writes.
        report: Takes connected, disconnected, retrying, recording_failed, new_recording.

    Attributes:
        samples, predictions, events: Entries noted.
        refused: Payloads that could not be read.
        recorder: The recording under way.

    Raises:
        ConfigError: The file exists already, or the model is not the daemon's, or it counts spikes into rows.
    """

    def __init__(
        self,
        settings: MqttSettings,
        root: str,
        birth: Birth,
        path: str,
        *,
        model: Path | None,
        flush_s: float,
        report: Callable[[str, str], None],
    ) -> None:
        self.samples = self.predictions = self.events = self.refused = 0
        self._root, self._birth, self._path = root, birth, path
        self._model, self._flush_s, self._report = model, flush_s, report
        self._codec = CODECS[_samples_of(birth)]
        self._template = TopicTemplate(settings.topic)
        self._dropped = 0
        self._recording: asyncio.Task[None] | None = None
        topics = [settings.topic, *(f"{root}/{name}" for name in ("predictions/#", "events", "info"))]
        self._transport = MqttTransport(settings, topics=topics, report=report, fail_fast=True)
        self.recorder = self._new_recorder(again=False)

    @property
    def dropped(self) -> int:
        """Entries noted but not written."""
        return self._dropped + self.recorder.dropped

    async def serve(self) -> None:
        """Record until cancelled; then end the file.

        Raises:
            TransportError: The broker cannot be reached at first, or refuses.
        """
        self._recording = asyncio.create_task(self.recorder.run(), name="record")
        try:
            await self._transport.serve(self._deliver)
        finally:
            await self._end()

    async def ready(self) -> None:
        """Return once subscribed."""
        await self._transport.ready()

    async def _end(self) -> None:
        if self._recording is not None:
            self._recording.cancel()
            await asyncio.gather(self._recording, return_exceptions=True)
        self.recorder.close()

    def _deliver(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                self._take(message)
            except WireError as error:
                self.refused += 1
                self._report("refused", f"{message.topic}: {error}")

    def _take(self, message: Message) -> None:
        if message.topic.startswith(f"{self._root}/predictions/"):
            prediction, t_published_ns = self._codec.decode_prediction(message.payload)
            self.recorder.prediction(prediction, t_published_ns)
            self.predictions += 1
        elif message.topic == f"{self._root}/events":
            self.recorder.event(message.payload, message.t_received_ns)
            self.events += 1
        elif message.topic == f"{self._root}/info":
            self._born_again(message.payload)
        elif not message.topic.startswith(f"{self._root}/"):
            for sample in self._codec.decode_samples(message.payload, self._key(message.topic)):
                self.recorder.sample(sample, message.t_received_ns)
                self.samples += 1

    def _key(self, topic: str) -> str:
        key = self._template.key(topic)
        assert key is not None  # the broker matched it
        return key

    def _born_again(self, payload: bytes) -> None:
        """Begin another file when the daemon goes on with another model or started again."""
        try:
            birth = msgspec.json.decode(payload, type=Birth)
        except msgspec.DecodeError:
            self._report("refused", f"{self._root}/info: expected a daemon of this version")
            return
        if birth.header() == self._birth.header():
            return
        self._birth, self._model = birth, None if birth.model != self._birth.model else self._model
        self.recorder.close()
        self._dropped += self.recorder.dropped
        self.recorder = self._new_recorder(again=True)
        if self._recording is not None:
            self._recording.cancel()
        self._recording = asyncio.get_running_loop().create_task(self.recorder.run(), name="record")
        self._report("new_recording", f"{self.recorder.path}: the daemon started again, or has another model")

    def _new_recorder(self, *, again: bool) -> Recorder:
        content = None
        if self._model is not None:
            expected, got = self._birth.model.hash, load_model(self._model).hash
            if expected != got:
                raise ConfigError(f"{self._model}: expected the daemon's model {expected}, got {got}")
            content = self._model.read_bytes()
        header = self._birth.header()
        return Recorder(
            self._path, header, content, self._flush_s, 1_000_000, again=again, report=self._report
        )


def _samples_of(birth: Birth) -> WireName:
    """The encoding of samples. Where the rows begin that spikes are counted into, only the daemon knows."""
    wire = birth.sources["mqtt"].wire
    if wire != answer_of(wire):
        expected = "expected a daemon that takes samples over MQTT"
        raise ConfigError(f"record: {expected}, got {wire!r}: its own [recording] has the rows")
    return answer_of(wire)
