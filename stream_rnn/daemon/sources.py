"""The ways in that a config names, and where the predictions of each go."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from stream_rnn.config.sections import Config
from stream_rnn.config.ways import Answer, TcpSection, UdpSection, UnixDatagramSection, UnixSection
from stream_rnn.transports.base import Births, Publication, Publisher, Report, Transport
from stream_rnn.transports.datagram import DatagramServer
from stream_rnn.transports.mqtt_control import Control
from stream_rnn.transports.stdio import StdioTransport
from stream_rnn.transports.stream_socket import StreamSocketServer
from stream_rnn.wire import AnyWire


class Source(NamedTuple):
    """One way in, and the ways its answers go out: published on a topic, back to the sender, or both.

    Attributes:
        transport: The way in.
        wire: Encoding of its samples and their predictions, or of its packets of spikes.
        publisher: Where predictions are published, or None.
        qos: Quality of service of that.
        replies: Whether the sender is answered.
        after: What must be ready before this way is opened: nothing may come in that cannot go out.
    """

    transport: Transport
    wire: AnyWire
    publisher: Publisher | None = None
    qos: int = 0
    replies: bool = True
    after: Transport | None = None


def depends(config: Config, name: str) -> tuple[object, ...]:
    """Everything in a config that a way in is made of: while it stays equal, the way may stay open."""
    section = getattr(config, name)
    if section is None or (name != "mqtt" and section.answer == "sender"):
        return (section,)
    truth = None if config.interval is None else config.interval.truth
    return section, config.mqtt, config.daemon.topic, config.commands.mqtt, config.inbox.policy, truth


def open_sources(
    config: Config,
    kept: Mapping[str, Source],
    *,
    control: Control,
    will: Publication,
    births: Births,
    report: Report,
    on_close: Callable[[str], None],
    on_end: Callable[[], None],
) -> dict[str, Source]:
    """Make the transports that a config names; nothing is opened before they serve.

    Args:
        config: What to make.
        kept: Ways in that stay as they are.
        control: Who carries out commands, where they are taken over MQTT.
        will: Published by the broker when we vanish.
        births: What is published first on every connection to it.
        report: Takes what happens.
        on_close: Takes the key of a stream whose connection ended.
        on_end: Called when standard input ends.
    """
    sources: dict[str, Source] = dict(kept)
    if config.mqtt is not None and "mqtt" not in kept:
        from stream_rnn.transports.mqtt import MqttTransport  # noqa: PLC0415 - 30 ms that only this needs

        taken = control if config.commands.mqtt else None
        truth = None if config.interval is None else config.interval.truth
        mqtt = MqttTransport(
            config.mqtt,
            topics=[config.mqtt.topic, *([] if truth is None else [truth])],
            will=will,
            on_connect=births,
            report=report,
            control=taken,
            hold=config.inbox.policy == "block",
        )
        sources["mqtt"] = Source(mqtt, config.mqtt.wire, mqtt, config.mqtt.publish_qos, replies=False)

    def add(name: str, transport: Transport, wire: AnyWire, answer: Answer) -> None:
        sink = sources.get("mqtt")
        if answer == "sender" or sink is None:
            sources[name] = Source(transport, wire)
        else:
            replies = answer == "both"
            sources[name] = Source(transport, wire, sink.publisher, sink.qos, replies, after=sink.transport)

    for name in ("tcp", "unix"):
        connections: TcpSection | UnixSection | None = getattr(config, name)
        if connections is not None and name not in kept:
            server = StreamSocketServer(connections, report=report, on_close=on_close)
            add(name, server, connections.codec, connections.answer)
    for name in ("udp", "unix_datagram"):
        datagrams: UdpSection | UnixDatagramSection | None = getattr(config, name)
        if datagrams is not None and name not in kept:
            add(name, DatagramServer(datagrams, report=report), datagrams.wire, datagrams.answer)
    if config.stdio is not None and "stdio" not in kept:
        pipe = StdioTransport(config.stdio, report=report, on_end=on_end)
        add("stdio", pipe, config.stdio.codec, config.stdio.answer)
    return sources
