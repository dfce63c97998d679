"""What a daemon says about itself: status, birth, metrics, events. Always JSON."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from stream_rnn.config.sections import Config
from stream_rnn.daemon.sources import Source
from stream_rnn.environment import environment
from stream_rnn.predictor import Predictor
from stream_rnn.session.rules import Rules
from stream_rnn.transports.base import Publication

SCHEMA = 1


class Happened(Protocol):
    """Takes what an operator should see."""

    def __call__(self, kind: str, detail: str, stream: str = "") -> None:
        """One event."""


def status(state: str, run: str) -> bytes:
    """The retained status. The run id tells a late will of an earlier run from this one's."""
    return msgspec.json.encode({"status": state, "session": run})


def info(
    predictor: Predictor,
    node: str,
    run: str,
    inputs: dict[str, dict[str, str]],
    rules: Rules,
    **more: dict[str, Any],
) -> bytes:
    """The retained birth message: what is served, what it takes, and what its bits depend on.

    Args:
        predictor: The model.
        node: Name of the daemon.
        run: Id of this run.
        inputs: Each source by name, with where samples go and how they are encoded.
        rules: What is done with samples that do not follow each other.
        more: What else is told, by name.
    """
    card = predictor.model.card
    versions = environment()
    cpu = versions.pop("cpu")
    return msgspec.json.encode(
        {
            "schema": SCHEMA,
            "node": node,
            "session": run,
            "model": {
                "hash": predictor.hash,
                "architecture": str(card.architecture),
                "inputs": card.inputs,
                "outputs": card.outputs,
                "rate_hz": card.rate_hz,
                "bin_ms": predictor.model.bin_ms,
                "horizon": card.horizon,
                "missing": card.missing,
            },
            "sources": inputs,
            "rules": {name: getattr(rules, name) for name in Rules.__struct_fields__},
            "versions": versions,
            "cpu": cpu,
            **more,
        }
    )


def births(
    config: Config, predictor: Predictor, run: str, sources: Mapping[str, Source]
) -> list[Publication]:
    """What is published first on every connection.

    Args:
        config: What the daemon does.
        predictor: The model.
        run: Id of this run.
        sources: Every way in.
    """
    topic, mqtt = config.daemon.topic, config.mqtt
    inputs = {
        name: {"wire": source.wire, "topic": mqtt.topic if mqtt is not None and name == "mqtt" else ""}
        for name, source in sources.items()
    }
    interval = config.interval
    more = {} if interval is None else {"interval": {"coverage": interval.coverage, "truth": interval.truth}}
    birth = info(predictor, config.daemon.node, run, inputs, config.stream, **more)
    return [
        Publication(f"{topic}/info", birth, 1, retain=True),
        Publication(f"{topic}/status", status("online", run), 1, retain=True),
    ]


class Events:
    """Tells the operator, the event topic and the recording what happens: a few of each kind a second.

    Args:
        run: Id of this run.
        per_second: Events of one kind told in a second.
        tell: Takes (kind, detail) for the operator.
        publish: Takes the event as JSON.
    """

    def __init__(
        self, run: str, per_second: int, tell: Callable[[str, str], None], publish: Callable[[bytes], None]
    ) -> None:
        self._run, self._tell, self._publish = run, tell, publish
        self._limiter = EventLimiter(per_second)

    def happened(self, kind: str, detail: str, stream: str = "") -> None:
        """One event."""
        held_back = self._limiter.admit(kind, time.monotonic_ns())
        if held_back is None:
            return
        self._tell(kind, f"{detail} ({held_back} more held back)" if held_back else detail)
        event = {
            "t_ns": time.time_ns(),
            "session": self._run,
            "kind": kind,
            "stream": stream,
            "detail": detail,
            "held_back": held_back,
        }
        self._publish(msgspec.json.encode(event))


class EventLimiter:
    """Lets a few events of each kind through a second; the rest is counted and told with the next."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._windows: dict[str, tuple[int, int]] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, kind: str, now_ns: int) -> int | None:
        """Decide about one event.

        Args:
            kind: What happened.
            now_ns: Monotonic time.

        Returns:
            Number of events of this kind held back since the last one told; None when this one is held back.
        """
        second = now_ns // 1_000_000_000
        began, told = self._windows.get(kind, (second, 0))
        if began != second:
            told = 0
        if told >= self._per_second:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        self._windows[kind] = second, told + 1
        return self._suppressed.pop(kind, 0)
