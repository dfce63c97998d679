"""What one connection publishes: at once, when its turn comes, or, with receipts, on a later connection."""

from collections.abc import Callable, Iterable
from functools import partial

from stream_rnn.transports.base import Publication
from stream_rnn.transports.mqtt_outbox import Outbox
from stream_rnn.transports.mqtt_packets import Writer
from stream_rnn.transports.mqtt_properties import CORRELATION_DATA
from stream_rnn.transports.mqtt_pump import Pump
from stream_rnn.transports.mqtt_receipts import Receipts, Unconfirmed
from stream_rnn.transports.mqtt_settings import MqttSettings

SURELY = 2  # times what may wait to be confirmed, where nothing is given up: samples of qos 1 are held before


class Sender:
    """Publishes over one connection.

    Args:
        writer: Writes packets.
        outbox: Keeps those of qos 1 until they are confirmed.
        pump: Sends them.
        max_outgoing: Packets that may wait.
        receipts: With them, those of qos 1 are never given up: a later connection or run sends them.

    Attributes:
        maximum_qos: What the broker takes.
        over: Whether nothing goes any more over this connection.
    """

    def __init__(
        self, writer: Writer, outbox: Outbox, pump: Pump, max_outgoing: int, receipts: Receipts | None
    ) -> None:
        self.maximum_qos, self.over = 1, False
        self._writer, self._outbox, self._pump = writer, outbox, pump
        self._most, self._receipts = max_outgoing, receipts

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, correlation: bytes | None
    ) -> str:
        """See `Link`."""
        sure = qos and self.maximum_qos and self._receipts is not None
        if not sure and self._pump.waiting >= self._most:
            return "dropped_full"
        written = self._writer.topic(topic)
        if written is None:
            return "dropped_bad_topic"
        if self.over and not sure:
            return "dropped_disconnected"
        said = None if correlation is None else {CORRELATION_DATA: correlation}
        if qos and self.maximum_qos:
            if len(self._outbox) >= (SURELY * self._most if sure else self._most):
                return "dropped_full"
            text = None
            if self._receipts is not None and not retain:
                text = next(self._receipts.serials), topic, payload
            packet = self._outbox.add(partial(self._writer.publish, written, payload, retain, said), text)
            if packet is None or self.over:
                return "published"
        else:
            packet = self._writer.publish(written, payload, retain, said)
        self._pump.send(packet)
        return "published"

    def publish_first(self, publication: Publication) -> None:
        """Send a birth or the will, whatever else waits."""
        topic, payload, qos, retain = publication
        written = self._writer.topic(topic)
        assert written is not None  # the daemon's own topics are checked with its config
        if qos and self.maximum_qos:
            make = partial(self._writer.publish, written, payload, retain, None)
            packet = self._outbox.add(make, first=True)
            assert packet is not None  # the first ones go beyond every limit
            self._pump.out.append(packet)
        else:
            self._pump.out.append(self._writer.publish(written, payload, retain))


def keep_in(outbox: Outbox, settings: MqttSettings) -> Callable[[Iterable[Unconfirmed]], None]:
    """What publishes with qos 1 on the next connection."""
    writer = Writer(new=settings.version == "5")

    def keep(publications: Iterable[Unconfirmed]) -> None:
        for text in publications:
            _, topic, payload = text
            written = writer.topic(topic)
            assert written is not None  # it was published before
            outbox.add(partial(writer.publish, written, payload, False, None), text)  # noqa: FBT003 - as there

    return keep
