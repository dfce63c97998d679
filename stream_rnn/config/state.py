"""The config's section [state]: where sessions are kept durably, and what must hold for what it promises."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from stream_rnn.errors import ConfigError
from stream_rnn.session.rules import Rules
from stream_rnn.transports.mqtt_settings import MqttSettings


class StateSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every session on disk: nothing is forgotten by a stop, a kill, a power cut, or for being idle.

    With it, samples of `mqtt.qos = 1` are acknowledged only when what they changed is on disk: they are
    stepped exactly once. See durability.md.

    Attributes:
        path: SQLite file, relative to the config file; made where there is none. A reload cannot change it.
        interval_s: Seconds between two checkpoints while samples come. Acknowledgements wait for none: the
            next checkpoint begins as soon as the last one is on disk.
        every: Samples after which a checkpoint is taken sooner.
        max_streams: Streams on disk; of more, those silent longest are forgotten, and counted. At least
            `stream.max_streams`: none that is in memory is among them.
        journal: Write down what nobody sends again (sockets, standard input, `mqtt.qos = 0`) before it is
            stepped, and step it at the next start.
        journal_ms: Milliseconds between two syncs of the journal: what a power cut can lose of it.
        answers: Answers kept of each stream, those of so many of its last numbers: a sample that comes again
            with its seq is answered again, with the same bytes. 0 keeps none.
        answer_when: When a sample over MQTT with qos 1 is answered: as soon as it is `stepped`, or when what
            it changed is `durable`, so that who has the answer need not keep the sample.
    """

    path: str
    interval_s: Annotated[float, msgspec.Meta(ge=0.01)] = 1.0
    every: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    max_streams: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000
    journal: bool = False
    journal_ms: Annotated[float, msgspec.Meta(ge=1)] = 50.0
    answers: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    answer_when: Literal["stepped", "durable"] = "stepped"


def check_state(
    state: StateSection | None,
    mqtt: MqttSettings | None,
    wires: Mapping[str, str],
    policy: str,
    rules: Rules,
    max_streams: int,
) -> None:
    """Refuse what would break the promise.

    Args:
        state: The section.
        mqtt: That of the broker.
        wires: Encoding of each way in.
        policy: That of the inbox.
        rules: Those of streams.
        max_streams: Those that may be in memory.

    Raises:
        ConfigError: It names the key.
    """
    if state is None:
        return
    if state.max_streams < max_streams:
        raise ConfigError(
            f"state.max_streams: expected at least stream.max_streams, {max_streams}, got {state.max_streams}"
        )
    if state.journal and policy != "block":
        raise ConfigError(
            f"inbox.policy: expected 'block' with state.journal: it writes what is stepped; got {policy!r}"
        )
    if state.answers and rules.restart_after:
        raise ConfigError(
            "stream.restart_after: expected 0 with state.answers: who sends again what is not answered has "
            f"not started again; got {rules.restart_after}"
        )
    if state.answer_when == "durable":
        _check_answers(state, mqtt)
    if mqtt is None or mqtt.qos == 0:
        return
    asked = "with [state] and mqtt.qos 1"
    if mqtt.clean_session:
        raise ConfigError(
            f"mqtt.clean_session: expected false {asked}: the broker keeps what waits; got true"
        )
    if mqtt.client != "builtin":
        raise ConfigError(f"mqtt.client: expected 'builtin' {asked}, got {mqtt.client!r}")
    if wires["mqtt"] == "f32":
        raise ConfigError(f"mqtt.wire: expected one with seq {asked}: it tells repeats; got 'f32'")


def _check_answers(state: StateSection, mqtt: MqttSettings | None) -> None:
    """Refuse to answer late where that promises nothing."""
    if mqtt is None or mqtt.qos == 0:
        got = "no [mqtt]" if mqtt is None else "0"
        raise ConfigError(
            f"mqtt.qos: expected 1 with state.answer_when 'durable': no other way waits; got {got}"
        )
    if not state.answers:
        raise ConfigError(
            "state.answers: expected at least 1 with state.answer_when 'durable': what a kill keeps from "
            "leaving is asked for again; got 0"
        )
