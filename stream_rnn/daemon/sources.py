"""The ways in that a config names, and where the predictions of each go."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from stream_rnn.config.sections import Config, MqttSection
from stream_rnn.config.ways import Answer, TcpSection, UdpSection, UnixDatagramSection, UnixSection
from stream_rnn.transports.base import Births, Publication, Publisher, Report, Transport
from stream_rnn.transports.datagram import DatagramServer
from stream_rnn.transports.mqtt_control import Control
from stream_rnn.transports.mqtt_receipts import Receipts
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
        redelivers: Whether its sender keeps what we do not acknowledge, and sends it again.
        passing: Whether its streams end with their connections, but for those that payloads name.
    """

    transport: Transport
    wire: AnyWire
    publisher: Publisher | None = None
    qos: int = 0
    replies: bool = True
    after: Transport | None = None
    redelivers: bool = False
    passing: bool = False


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
    on_open: Callable[[str], None],
    on_close: Callable[[str], None],
    receipts: Receipts | None,
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
        receipts: What acknowledgements to the broker wait in, if sessions are durable.
        on_open: Takes the key of a stream whose connection begins.
        on_close: Takes the key of a stream whose connection ended.
        on_end: Called when standard input ends.
    """
    sources: dict[str, Source] = dict(kept)
    if config.mqtt is not None and "mqtt" not in kept:
        sources["mqtt"] = _broker(config, config.mqtt, control, will, births, report, receipts)

    def add(name: str, transport: Transport, wire: AnyWire, answer: Answer, *, passing: bool = False) -> None:
        source, sink = Source(transport, wire, passing=passing), sources.get("mqtt")
        if answer != "sender" and sink is not None:
            publisher, qos, replies = sink.publisher, sink.qos, answer == "both"
            source = source._replace(publisher=publisher, qos=qos, replies=replies, after=sink.transport)
        sources[name] = source

    for name in ("tcp", "unix"):
        connections: TcpSection | UnixSection | None = getattr(config, name)
        if connections is not None and name not in kept:
            server = StreamSocketServer(connections, report=report, on_open=on_open, on_close=on_close)
            add(name, server, connections.codec, connections.answer, passing=True)
    for name in ("udp", "unix_datagram"):
        datagrams: UdpSection | UnixDatagramSection | None = getattr(config, name)
        if datagrams is not None and name not in kept:
            add(name, DatagramServer(datagrams, report=report), datagrams.wire, datagrams.answer)
    if config.stdio is not None and "stdio" not in kept:
        pipe = StdioTransport(config.stdio, report=report, on_end=on_end)
        add("stdio", pipe, config.stdio.codec, config.stdio.answer)
    return sources


def _broker(
    config: Config,
    section: MqttSection,
    control: Control,
    will: Publication,
    births: Births,
    report: Report,
    receipts: Receipts | None,
) -> Source:
    """The way in, and out, that a broker is; see `open_sources`."""
    from stream_rnn.transports.mqtt import MqttTransport  # noqa: PLC0415 - 30 ms that only this needs

    truth = None if config.interval is None else config.interval.truth
    mqtt = MqttTransport(
        section,
        topics=[section.topic, *([] if truth is None else [truth])],
        will=will,
        on_connect=births,
        report=report,
        control=control if config.commands.mqtt else None,
        hold=config.inbox.policy == "block",
        receipts=receipts if section.client == "builtin" else None,
    )
    wire, qos, redelivers = section.wire, section.publish_qos, section.qos == 1
    return Source(mqtt, wire, mqtt, qos, replies=False, redelivers=redelivers)
