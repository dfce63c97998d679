"""The whole program on one page: bytes in, one step each, predictions out, and what is said about it.

    transport -> (inbox, unless it blocks) -> decode -> session.feed -> encode -> transport

One thread, one event loop: a read that brings forty messages is answered before the next read.
"""

import asyncio
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from stream_rnn.announce import EventLimiter, Latency, info, status
from stream_rnn.config.load import shown
from stream_rnn.config.sections import Config
from stream_rnn.errors import CountedError
from stream_rnn.inbox import Inbox
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.recorder import Recorder, environment
from stream_rnn.sample import Prediction
from stream_rnn.session.session import Session
from stream_rnn.session.table import Sessions
from stream_rnn.sources import Source, open_sources
from stream_rnn.transports.base import Message, Publication
from stream_rnn.wire import CODECS, Codec

CHUNK = 64  # messages taken from the inbox before the sockets are read again
EVICTION_S = 1.0


class Daemon:
    """A model served to everyone who sends samples.

    Args:
        config: What to do.
        predictor: The model, compiled and proved: constructing it did that.
        report: Takes (kind, detail) of what an operator should see: ready, connected, refused, ...
    """

    def __init__(self, config: Config, predictor: Predictor, report: Callable[[str, str], None]) -> None:
        self.run_id = secrets.token_hex(6)
        self.refused: Counter[str] = Counter()
        self.latency = Latency()
        self.sources: dict[str, Source] = {}
        self.recorder: Recorder | None = None
        self._config, self._predictor, self._tell = config, predictor, report
        self._topic = config.daemon.topic
        self.sessions = Sessions(predictor, config.stream, self.run_id, config.stream.max_streams)
        self._limiter = EventLimiter(config.daemon.events_per_s)
        policy = config.inbox.policy
        self._inbox: Inbox[tuple[Source, Message]] | None = (
            None if policy == "block" else Inbox(policy, config.inbox.size)
        )
        self._drain_due = False
        self._published = 0
        self._stop = asyncio.Event()

    def open_configured(self) -> None:
        """Make the transports that the config names."""
        self.sources = open_sources(
            self._config,
            will=Publication(f"{self._topic}/status", status("offline", self.run_id), 1, retain=True),
            births=self.births,
            report=self.happened,
            on_close=self.sessions.drop,
            on_end=self.stop,
        )
        if (recording := self._config.recording) is not None:
            header = environment() | {"run": self.run_id, "model": self._predictor.model.hash}
            header["config"] = msgspec.json.encode(shown(self._config)).decode()
            model = Path(self._config.model.path).read_bytes()
            self.recorder = Recorder(recording.path, header, model, recording.flush_s, recording.max_waiting)

    def add(self, name: str, source: Source) -> None:
        """Serve one more source."""
        self.sources[name] = source

    async def run(self) -> None:
        """Serve until `stop`; then answer what waits, say goodbye, and return.

        Raises:
            TransportError: A source cannot work.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        serving = []
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, source in self.sources.items():
                    serving.append(tasks.create_task(self._serve_source(source), name=f"serve-{name}"))
                ticking = [
                    tasks.create_task(self._publish_metrics(), name="metrics"),
                    tasks.create_task(self._evict_idle(), name="evict"),
                    tasks.create_task(self._announce_ready(), name="ready"),
                ]
                if self.recorder is not None:
                    ticking.append(tasks.create_task(self.recorder.run(), name="record"))
                await self._stop.wait()
                self._drain_all()
                for task in [*ticking, *serving]:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            if self.recorder is not None:
                self.recorder.close()

    async def _serve_source(self, source: Source) -> None:
        """Open one way in; one that answers to the broker, once the broker can be reached."""
        if source.after is not None:
            await source.after.ready()
        await source.transport.serve(self._deliver_from(source))

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    def births(self) -> list[Publication]:
        """What is published first on every connection."""
        sources = {
            name: {
                "wire": source.wire,
                "topic": self._config.mqtt.topic if self._config.mqtt and name == "mqtt" else "",
            }
            for name, source in self.sources.items()
        }
        birth = info(self._predictor.model, self._config.daemon.node, self.run_id, sources)
        return [
            Publication(f"{self._topic}/info", birth, 1, retain=True),
            Publication(f"{self._topic}/status", status("online", self.run_id), 1, retain=True),
        ]

    def happened(self, kind: str, detail: str, stream: str = "") -> None:
        """Tell the operator and the event topic, a few times a second for each kind."""
        held_back = self._limiter.admit(kind, time.monotonic_ns())
        if held_back is None:
            return
        event = {
            "t_ns": time.time_ns(),
            "session": self.run_id,
            "kind": kind,
            "stream": stream,
            "detail": detail,
            "held_back": held_back,
        }
        self._tell(kind, f"{detail} ({held_back} more held back)" if held_back else detail)
        payload = msgspec.json.encode(event)
        self._publish("events", payload)
        if self.recorder is not None:
            self.recorder.event(payload, time.time_ns())

    def _deliver_from(self, source: Source) -> Callable[[list[Message]], None]:
        def deliver(messages: list[Message]) -> None:
            if self._inbox is None:
                self._serve(source, messages)
                return
            for message in messages:
                self._inbox.put(message.stream, (source, message))
            if not self._drain_due:
                self._drain_due = True
                asyncio.get_running_loop().call_soon(self._drain)

        return deliver

    def _drain(self) -> None:
        """Answer some of what waits, then let the sockets be read."""
        assert self._inbox is not None
        for source, message in self._inbox.take(CHUNK):
            self._serve(source, [message])
        self._drain_due = len(self._inbox) > 0
        if self._drain_due:
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain_all(self) -> None:
        while self._inbox:
            for source, message in self._inbox.take(CHUNK):
                self._serve(source, [message])

    def _serve(self, source: Source, messages: list[Message]) -> None:
        """The way of every sample."""
        codec = CODECS[source.wire]
        for message in messages:
            t_began = time.monotonic_ns()
            try:
                samples = codec.decode_samples(message.payload, message.stream)
            except CountedError as error:
                self._refuse(source, message, error)
                continue
            for sample in samples:
                try:
                    session = self.sessions.get(sample.stream, message.t_arrived_ns)
                    if self.recorder is not None:
                        self.recorder.sample(sample, message.t_received_ns)
                    predictions = session.feed(sample, message.t_received_ns, time.time_ns)
                except CountedError as error:
                    self._refuse(source, message, error)
                    continue
                t_stepped = time.monotonic_ns()
                for prediction in predictions:
                    self._answer(source, codec, message, prediction)
                if self.recorder is not None:
                    self._record_state(session)
                self._measure(message.t_arrived_ns, t_began, t_stepped)

    def _answer(self, source: Source, codec: Codec, message: Message, prediction: Prediction) -> None:
        t_published_ns = time.time_ns()
        payload = codec.encode_prediction(prediction, t_published_ns)
        self._published += 1
        if self.recorder is not None:
            self.recorder.prediction(prediction, t_published_ns)
        if source.publisher is not None:
            topic = f"{self._topic}/predictions/{prediction.stream}"
            source.publisher.publish(topic, payload, qos=source.qos)
        if source.replies and message.reply is not None:
            message.reply(payload)
        if prediction.t_source_ns is not None:
            self.latency.interval["end_to_end"].record(t_published_ns - prediction.t_source_ns)

    def _record_state(self, session: Session) -> None:
        """Note the state now and then: where a replay may start, and what tells where two runs part."""
        assert self.recorder is not None
        assert self._config.recording is not None
        every = self._config.recording.states_every
        if every and session.counters.stepped % every == 0:
            self.recorder.state(session.stream, session.last_seq, session.to_bytes(), time.time_ns())

    def _measure(self, t_arrived: int, t_began: int, t_stepped: int) -> None:
        stages = self.latency.interval
        stages["queue"].record(t_began - t_arrived)
        stages["step"].record(t_stepped - t_began)
        stages["total"].record(time.monotonic_ns() - t_arrived)

    def _refuse(self, source: Source, message: Message, error: CountedError) -> None:
        """Count one sample that cannot be stepped; tell the sender where there is a way back in words."""
        self.refused[error.reason] += 1
        self.happened(f"refused_{error.reason}", str(error), message.stream)
        if source.replies and message.reply is not None and source.wire == "json":
            message.reply(msgspec.json.encode({"error": error.reason, "detail": str(error)}))

    def _publish(self, topic: str, payload: bytes) -> None:
        publishers = {id(s.publisher): s.publisher for s in self.sources.values() if s.publisher is not None}
        for publisher in publishers.values():
            publisher.publish(f"{self._topic}/{topic}", payload)

    async def _announce_ready(self) -> None:
        for source in self.sources.values():
            await source.transport.ready()
        self._tell("ready", ", ".join(self.sources))

    async def _publish_metrics(self) -> None:
        interval, began = self._config.daemon.metrics_s, time.monotonic()
        published, due = 0, began
        while True:
            due += interval
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._publish(
                "metrics", msgspec.json.encode(self.metrics(self._published - published, interval, began))
            )
            published = self._published

    def metrics(self, published: int, interval_s: float, began: float) -> dict[str, object]:
        """What is published on `metrics`, for the interval that ends now."""
        return {
            "t_ns": time.time_ns(),
            "session": self.run_id,
            "model": self._predictor.model.hash,
            "uptime_s": round(time.monotonic() - began, 3),
            "streams": len(self.sessions),
            "evicted": self.sessions.evicted,
            "predictions_per_s": round(published / interval_s, 1),
            "predictions": self._published,
            "samples": self.sessions.totals,
            "refused": dict(self.refused),
            "dropped": self._inbox.dropped if self._inbox is not None else 0,
            "unrecorded": self.recorder.dropped if self.recorder is not None else 0,
            "waiting": len(self._inbox) if self._inbox is not None else 0,
            "transports": {name: source.transport.counters for name, source in self.sources.items()},
            **self.latency.roll(),
        }

    async def _evict_idle(self) -> None:
        idle_ns = int(self._config.stream.idle_s * 1e9)
        while True:
            await asyncio.sleep(min(EVICTION_S, self._config.stream.idle_s))
            evicted = self.sessions.evict_idle(time.monotonic_ns() - idle_ns)
            if evicted:
                self.happened("evicted", f"{len(evicted)} idle streams, the first {evicted[0]!r}", evicted[0])
