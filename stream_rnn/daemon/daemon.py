"""The whole program on one page: what is opened, what is said about it, and how it is told to change.

One thread, one event loop: a read that brings forty messages is answered before the next read.
"""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from stream_rnn.config.insecure import insecurities
from stream_rnn.config.sections import SOURCES, Config, HttpSection
from stream_rnn.daemon.announce import Events, births, status
from stream_rnn.daemon.clockwork import evict_idle, regularly
from stream_rnn.daemon.commands import Commands, Reply
from stream_rnn.daemon.metrics import Metrics
from stream_rnn.daemon.notes import new_recorder
from stream_rnn.daemon.pipeline import Pipeline
from stream_rnn.daemon.serving import Serving
from stream_rnn.daemon.sources import Source, depends, open_sources
from stream_rnn.daemon.verbs import Verbs
from stream_rnn.errors import CommandError, StreamRnnError
from stream_rnn.operations.notify import Notifier
from stream_rnn.predictor import Predictor
from stream_rnn.transports.base import Message, Publication, Publisher
from stream_rnn.transports.mqtt_control import Control
from stream_rnn.transports.stream_settings import UnixSettings
from stream_rnn.transports.stream_socket import StreamSocketServer

if TYPE_CHECKING:
    from stream_rnn.daemon.durable import Durable
    from stream_rnn.operations.endpoint import Endpoint
    from stream_rnn.recordings.recorder import Recorder

MAX_COMMAND = 1 << 26  # bytes; a snapshot of the largest network fits
COMMAND_SOCKET, HTTP, RECORDING = "commands", "http", "recording"

Reread: TypeAlias = Callable[[], tuple[Config, Predictor]]
"""Reads config and model again. Runs in a thread."""


class Daemon:
    """A model served to everyone who sends samples.

    Args:
        config: What to do.
        predictor: The model, compiled and proved: constructing it did that.
        report: Takes (kind, detail) of what an operator should see: ready, connected, refused, ...
        reread: Reads config and model again, for a reload; None where there is nothing to read.
        notifier: Tells the service manager, where there is one.

    Attributes:
        run_id: Name of this run, in every prediction.
        sources: Every way in.
        pipeline: The streams and their counts.
        durable: Where sessions are on disk, if they are.
    """

    def __init__(
        self,
        config: Config,
        predictor: Predictor,
        report: Callable[[str, str], None],
        reread: Reread | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.run_id = secrets.token_hex(6)
        self.sources: dict[str, Source] = {}
        self.pipeline = Pipeline(config, predictor, self.run_id, self.happened)
        self._config, self._predictor, self._tell, self._reread = config, predictor, report, reread
        self._notifier = notifier if notifier is not None else Notifier({})
        self.durable: Durable | None = None
        self._metrics = Metrics(
            self.pipeline, self.run_id, lambda: self.durable.told() if self.durable else {}
        )
        self._commands = self._new_commands()
        self._events = self._new_events()
        self._changing = asyncio.Lock()
        self._stop = asyncio.Event()

    def open_configured(self) -> None:
        """Open the config's state, make its transports and its recording; these are opened by `run`.

        Raises:
            ConfigError: The recording exists already, or cannot be written.
            StateError: The state cannot be used.
        """
        self.open_state()
        self._make_sources()
        self.pipeline.notes.recorder = self._new_recorder(again=False)
        for line in insecurities(self._config):
            self._tell("insecure", line)

    def open_state(self) -> None:
        """Open where sessions are durable, if they are to be.

        Raises:
            StateError: It cannot be used.
        """
        if (section := self._config.state) is not None:
            from stream_rnn.daemon.durable import open_durable  # noqa: PLC0415 - 30 ms that only this needs

            self.durable = open_durable(section, self.pipeline, self._predictor.hash, self.happened)
            self._commands = self._new_commands()

    def _make_sources(self) -> None:
        topic, durable = self._config.daemon.topic, self.durable
        self.sources = open_sources(
            self._config,
            self.sources,
            control=Control(topic, self._obey_mqtt),
            will=Publication(f"{topic}/status", status("offline", self.run_id), 1, retain=True),
            births=self.births,
            report=self.happened,
            receipts=durable.receipts if durable else None,
            on_open=durable.opened if durable else lambda _stream: None,
            on_close=durable.forget if durable else self.pipeline.forget,
            on_end=self.stop,
        )

    def add(self, name: str, source: Source) -> None:
        """Serve one more source."""
        self.sources[name] = source

    async def run(self) -> None:
        """Serve until `stop`; then answer what waits, say goodbye, and return.

        Raises:
            TransportError: A source cannot work.
        """
        loop = asyncio.get_running_loop()
        signals = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._hang_up}
        for number, action in signals.items():
            loop.add_signal_handler(number, action)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._serving = Serving(self._tasks, self.happened)
                self._start(lenient=False)
                metrics = regularly(lambda: self._config.daemon.metrics_s, self._publish_metrics)
                evict = evict_idle(lambda: self._config.stream.idle_s, self._evict, self.happened)
                ticking = [
                    self._tasks.create_task(metrics, name="metrics"),
                    self._tasks.create_task(evict, name="evict"),
                    self._tasks.create_task(self._announce_ready(), name="ready"),
                    self._tasks.create_task(self._notifier.watch(), name="watchdog"),
                ]
                if self.durable is not None:
                    ticking.append(self._tasks.create_task(self.durable.run(), name="checkpoints"))
                await self._stop.wait()
                self._notifier.stopping()
                async with self._changing:
                    self.pipeline.end()
                    self._serving.cancel()
                    for task in ticking:
                        task.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            if self.durable is not None:
                await self.durable.close()
            if self.pipeline.notes.recorder is not None:
                self.pipeline.notes.recorder.close()
            for number in signals:
                loop.remove_signal_handler(number)

    @property
    def failed(self) -> dict[str, str]:
        """What could not be opened by a reload, and why."""
        return self._serving.failed

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    async def reload(self, force: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - said by a command
        """Read config and model again and go on with them.

        What the change does not concern stays open; streams keep their hidden states where they mean the same
        to the new model.

        Args:
            force: Take a model of another architecture too; its hidden states start anew.

        Raises:
            CommandError: Nothing changed, and why.
        """
        if self._reread is None:
            raise CommandError("expected a config and a model to read again, got none: nothing changed")
        async with self._changing:
            try:
                config, predictor = await asyncio.to_thread(self._reread)
            except StreamRnnError as error:
                raise CommandError(f"{error}; nothing changed") from None
            if config.state != self._config.state:
                raise CommandError("state: expected the section as it was at the start; nothing changed")
            unlike = self._predictor.model.card.unlike(predictor.model.card)
            if unlike and not force:
                raise CommandError(f"model: {unlike}; nothing changed, and force would start its states anew")
            before = self._config, self._predictor.hash
            if (config, predictor.hash) != before or self.failed or self.pipeline.notes.failing:
                await self._change(config, predictor, carried=not unlike)
        what = " and ".join(
            name
            for name, same in (("config", config == before[0]), ("model", predictor.hash == before[1]))
            if not same
        )
        self.happened("reloaded", f"another {what}" if what else "config and model are as before")
        return {"model": predictor.hash, "states": "anew" if unlike else "carried", "failed": self.failed}

    async def _change(self, config: Config, predictor: Predictor, *, carried: bool) -> None:
        before, self._config, self._predictor = self._config, config, predictor
        gone = {name for name in SOURCES if depends(before, name) != depends(config, name)} | set(self.failed)
        gone |= {n for n in (COMMAND_SOCKET, HTTP) if getattr(before, n) != getattr(config, n)}
        await self._serving.close([*gone, RECORDING])
        self.sources = {name: source for name, source in self.sources.items() if name not in gone}
        if self.pipeline.notes.recorder is not None:
            self.pipeline.notes.recorder.close()
        self.pipeline.adopt(config, predictor)
        if self.durable is not None:
            await self.durable.adopt(predictor.hash, carried=carried)
        self.pipeline.notes.recorder = self._new_recorder(again=True)
        self._events = self._new_events()
        self._commands = self._new_commands()
        self._make_sources()
        for line in insecurities(config):
            self._tell("insecure", line)
        self._start(lenient=True)
        for birth in self.births():
            for publisher in self._publishers():
                publisher.publish(birth.topic, birth.payload, qos=birth.qos, retain=birth.retain)

    def _start(self, *, lenient: bool) -> None:
        """Open what is not open yet."""
        self.failed.clear()
        serving = self._serving
        for name, source in self.sources.items():
            if name not in serving:
                ready = source.transport.ready
                serving.begin(name, self._serve_source(source), ready, lenient=lenient)
        if (path := self._config.commands.path) is not None and COMMAND_SOCKET not in serving:
            server = StreamSocketServer(UnixSettings(path=path, max_bytes=MAX_COMMAND))
            serving.begin(COMMAND_SOCKET, server.serve(self._obey), server.ready, lenient=lenient)
        if (http := self._config.http) is not None and HTTP not in serving:
            endpoint = self._new_endpoint(http)
            serving.begin(HTTP, endpoint.serve(), endpoint.ready, lenient=lenient)
        if self.pipeline.notes.recorder is not None:
            serving.begin(RECORDING, self.pipeline.notes.recorder.run(), None, lenient=False)

    async def _serve_source(self, source: Source) -> None:
        """Open one way in; one that answers to the broker, once the broker can be reached."""
        if source.after is not None:
            await source.after.ready()
        make, durable = self.pipeline.deliver_from, self.durable
        deliver = make(source) if durable is None else durable.deliver_from(source, make)
        await source.transport.serve(deliver)

    def _hang_up(self) -> None:
        self._tasks.create_task(self._reload_by_signal(), name="reload")

    async def _reload_by_signal(self) -> None:
        self._notifier.reloading()
        try:
            await self.reload()
        except CommandError as error:
            self.happened("reload_refused", str(error))
        self._notifier.ready(self._what_is_served())

    def _new_commands(self) -> Commands:
        verbs = Verbs(self.pipeline, self.status, self.reload, self.durable).table()
        return Commands(verbs, self._config.commands.token, self.happened)

    def _new_events(self) -> Events:
        return Events(self.run_id, self._config.daemon.events_per_s, self._tell, self._tell_event)

    def _obey_mqtt(self, payload: bytes, reply: Reply, verb: str) -> None:
        self._commands.take(payload, reply, verb)

    def _obey(self, messages: list[Message]) -> None:
        self._commands.take_lines(messages)  # whichever are then in force

    def _new_recorder(self, *, again: bool) -> "Recorder | None":
        return new_recorder(self._config, self._predictor, self.run_id, self.happened, again=again)

    def births(self) -> list[Publication]:
        """What is published first on every connection."""
        return births(self._config, self._predictor, self.run_id, self.sources)

    def happened(self, kind: str, detail: str, stream: str = "") -> None:
        """Tell what an operator should see."""
        self._events.happened(kind, detail, stream)

    def _tell_event(self, event: bytes) -> None:
        self._publish("events", event)
        if self.pipeline.notes.recorder is not None:
            self.pipeline.notes.recorder.event(event, time.time_ns())

    def status(self) -> dict[str, Any]:
        """The numbers of now."""
        return self._metrics.now(self._predictor, self.sources)

    def _unwell(self) -> dict[str, str]:
        """What must be mended."""
        state = "" if self.durable is None else self.durable.failed
        return self.failed | ({"state": state} if state else {})

    def _what_is_served(self) -> str:
        return f"model {self._predictor.hash} over {', '.join(self.sources)}"

    def _new_endpoint(self, http: HttpSection) -> "Endpoint":
        from stream_rnn.daemon.health import endpoint_of  # noqa: PLC0415 - 0.3 s that only this needs

        return endpoint_of(
            http,
            status=self.status,
            groups=lambda: self.pipeline.latency.groups,
            predictor=lambda: self._predictor,
            sources=lambda: self.sources,
            failed=self._unwell,
            report=self.happened,
        )

    def _publishers(self) -> list[Publisher]:
        publishers = {id(s.publisher): s.publisher for s in self.sources.values() if s.publisher is not None}
        return list(publishers.values())

    def _publish(self, topic: str, payload: bytes) -> None:
        for publisher in self._publishers():
            publisher.publish(f"{self._config.daemon.topic}/{topic}", payload)

    async def _announce_ready(self) -> None:
        await self._serving.ready()
        self._tell("ready", ", ".join(self.sources))
        self._notifier.ready(self._what_is_served())

    def _publish_metrics(self) -> None:
        metrics = self._metrics.interval(self._predictor, self.sources)
        self._publish("metrics", msgspec.json.encode(metrics))

    def _evict(self, before_ns: int) -> list[str]:
        evict = self.pipeline.evict_idle if self.durable is None else self.durable.evict_idle
        return evict(before_ns)
