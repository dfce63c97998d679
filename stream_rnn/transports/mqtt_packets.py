"""What a client says to an MQTT broker, as bytes. No I/O; versions 3.1.1 and 5."""

from stream_rnn.transports.base import Publication
from stream_rnn.transports.mqtt_properties import (
    MAX_VARINT,
    MAXIMUM_PACKET_SIZE,
    SESSION_EXPIRY,
    Properties,
    write_bytes,
    write_properties,
    write_varint,
)

PINGREQ = b"\xc0\0"
DISCONNECT = b"\xe0\0"
DUP = 0x08
MAX_TOPIC_BYTES = 65535
MAX_KNOWN_TOPICS = 1 << 16  # bounds the memory of a writer against made-up streams
MAX_REMEMBERED = 512  # bytes: a longer topic is written anew each time

SHORT = 1 << 11
SHORT_LENGTHS = [write_varint(length) for length in range(SHORT)]
"""Lengths as most packets have them, written once."""


FIRST_BYTES = [bytes((head,)) for head in range(256)]


class Writer:
    """Writes the packets of one version.

    Args:
        new: Version 5; else 3.1.1.
    """

    def __init__(self, *, new: bool) -> None:
        self._new = new
        self._no_properties = b"\0" if new else b""
        self._topics: dict[str, bytes] = {}

    def connect(
        self,
        *,
        client_id: str,
        clean: bool,
        keepalive_s: int,
        username: str | None = None,
        password: str | None = None,
        will: Publication | None = None,
        session_expiry_s: int = 0,
        max_bytes: int = MAX_VARINT,
    ) -> bytes:
        """The first packet of a connection; see `MqttSettings`.

        Args:
            client_id: Our name; empty: the broker makes one up.
            clean: Whether to start anew.
            keepalive_s: How often we let ourselves be heard.
            username: User name.
            password: Password.
            will: Published by the broker when we vanish.
            session_expiry_s: Version 5: how long the broker remembers us.
            max_bytes: Version 5: the largest packet we take.
        """
        flags = clean << 1
        payload = [write_bytes(client_id.encode())]
        if will is not None:
            flags |= 0x04 | will.qos << 3 | will.retain << 5
            payload += [self._no_properties, write_bytes(will.topic.encode()), write_bytes(will.payload)]
        if username is not None:
            flags |= 0x80
            payload.append(write_bytes(username.encode()))
        if password is not None:
            flags |= 0x40
            payload.append(write_bytes(password.encode()))
        properties = b""
        if self._new:
            asked: dict[int, int] = {MAXIMUM_PACKET_SIZE: max_bytes}
            if session_expiry_s:
                asked[SESSION_EXPIRY] = session_expiry_s
            properties = write_properties(asked)
        version = bytes((5 if self._new else 4, flags))
        return _packet(
            0x10, write_bytes(b"MQTT") + version + keepalive_s.to_bytes(2, "big") + properties, *payload
        )

    def topic(self, topic: str) -> bytes | None:
        """A topic as a PUBLISH carries it; None where MQTT does not allow it."""
        try:
            return self._topics[topic]
        except KeyError:
            pass
        if len(self._topics) >= MAX_KNOWN_TOPICS:
            self._topics.clear()
        try:
            raw = topic.encode()
        except UnicodeEncodeError:
            return None
        if not 0 < len(raw) <= MAX_TOPIC_BYTES or not {"+", "#", "\0"}.isdisjoint(topic):
            return None
        written = write_bytes(raw)
        if len(raw) <= MAX_REMEMBERED:
            self._topics[topic] = written
        return written

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        retain: bool = False,  # noqa: FBT001, FBT002  # once a prediction: names cost time
        properties: Properties | None = None,
        number: int = 0,
    ) -> bytes:
        """One publication.

        Args:
            topic: As `topic` gave it.
            payload: The payload.
            retain: Whether the broker keeps it.
            properties: Version 5: what else it says.
            number: With qos 1 the packet's number, from 1; 0 is qos 0.
        """
        middle = self._no_properties
        if properties and self._new:
            middle = write_properties(properties)
        head = 0x31 if retain else 0x30
        if number:
            head |= 0x02
            middle = number.to_bytes(2, "big") + middle
        length = len(topic) + len(middle) + len(payload)
        written = SHORT_LENGTHS[length] if length < SHORT else write_varint(length)
        return b"".join((FIRST_BYTES[head], written, topic, middle, payload))

    def subscribe(self, number: int, topic: str, qos: int) -> bytes:
        """Ask for one topic filter."""
        asked = write_bytes(topic.encode()) + bytes((qos,))
        return _packet(0x82, number.to_bytes(2, "big"), self._no_properties, asked)


def puback(number: int) -> bytes:
    """Tell the broker that a message of qos 1 need not be kept."""
    return b"\x40\x02" + number.to_bytes(2, "big")


def again(packet: bytes) -> bytes:
    """A publication that may have arrived before, marked so."""
    return bytes((packet[0] | DUP,)) + packet[1:]


def topic_of(packet: bytes) -> str:
    """The topic of a publication that `Writer` wrote."""
    at = next(at for at in range(1, 6) if packet[at] < 128) + 1  # behind the length
    return packet[at + 2 : at + 2 + int.from_bytes(packet[at : at + 2], "big")].decode()


def is_qos0_publish(packet: bytes) -> bool:
    """Whether nobody confirms a packet, and it carries something."""
    return packet[0] & 0xF6 == 0x30


def _packet(head: int, *parts: bytes) -> bytes:
    length = sum(map(len, parts))
    written = write_varint(length)
    return b"".join((FIRST_BYTES[head], written, *parts))
