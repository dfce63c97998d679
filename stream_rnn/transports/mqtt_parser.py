"""Bytes from an MQTT broker to events. No I/O: feed it bytes, take events; it knows versions 3.1.1 and 5.

Laws: any cutting of the same bytes gives the same events. What is no MQTT gives one last event, `Malformed`,
and nothing after it. A packet over the limit is refused by its first bytes, before any of it is collected.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from stream_rnn.transports.mqtt_properties import (
    MAXIMUM_QOS,
    REASON_STRING,
    RECEIVE_MAXIMUM,
    SERVER_KEEP_ALIVE,
    MalformedError,
    Properties,
    read_properties,
    read_varint,
)
from stream_rnn.transports.mqtt_reasons import reason_name

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14
RETAIN, QOS1, QOS2, DUP = 0x01, 0x02, 0x04, 0x08  # flags in a PUBLISH's first byte

NO_PROPERTIES: Properties = {}


class Published(msgspec.Struct, frozen=True, gc=False):
    """A message of a topic we are subscribed to.

    Attributes:
        topic: The topic's bytes, which a careless broker may not have checked to be UTF-8.
        payload: The payload, whole.
        number: The packet's number, by which it is acknowledged; 0 with qos 0.
        retain: Whether it was kept from before the subscription.
        properties: Version 5: what else it says.
        again: Whether it may have come before.
    """

    topic: bytes
    payload: bytes
    number: int
    retain: bool
    properties: Properties
    again: bool = False


class Accepted(msgspec.Struct, frozen=True):
    """The broker takes the connection.

    Attributes:
        session_present: It remembers our subscriptions and what was not confirmed.
        receive_maximum: How many publications of qos 1 it takes unconfirmed.
        keepalive_s: How often it wants to hear from us, where it says so.
        maximum_qos: What it takes.
    """

    session_present: bool
    receive_maximum: int | None = None
    keepalive_s: int | None = None
    maximum_qos: int = 1


class Refused(msgspec.Struct, frozen=True):
    """The broker does not take the connection.

    Attributes:
        code: Reason code of version 5; those of 3.1.1 are translated.
        reason: What it means, in words.
    """

    code: int
    reason: str


class Confirmed(msgspec.Struct, frozen=True, gc=False):
    """A publication of qos 1 arrived; a code from 128 says that the broker declined it."""

    number: int
    code: int


class Subscribed(msgspec.Struct, frozen=True):
    """A subscription is answered; a code from 128 refuses its topic."""

    number: int
    codes: tuple[int, ...]


class Pong(msgspec.Struct, frozen=True):
    """The broker is alive."""


class Ended(msgspec.Struct, frozen=True):
    """The broker ends the connection, and says why (version 5)."""

    code: int
    reason: str


class Malformed(msgspec.Struct, frozen=True):
    """These bytes are not MQTT, or not for a client. Nothing comes after it."""

    reason: str


Event: TypeAlias = Published | Accepted | Refused | Confirmed | Subscribed | Pong | Ended | Malformed
"""What a broker can say to us."""


class Parser:
    """Cuts a connection's bytes into packets and tells what they say.

    Args:
        new: Version 5; else 3.1.1.
        max_bytes: Largest packet, without its first two to five bytes.
    """

    def __init__(self, *, new: bool, max_bytes: int) -> None:
        self._new = new
        self._max_bytes = max_bytes
        self._parts: list[
            bytes
        ] = []  # of one packet, joined when it is whole: small reads of a big one stay cheap
        self._size = 0
        self._wanted = 2
        self._broken = False

    def feed(self, data: bytes) -> list[Event]:
        """Everything that these bytes complete, in order."""
        if self._broken:
            return []
        if self._parts:
            self._parts.append(data)
            self._size += len(data)
            if self._size < self._wanted:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        events: list[Event] = []
        start = 0
        try:
            start = self._cut(data, events)
        except MalformedError as error:
            self._broken = True
            events.append(Malformed(str(error)))
            return events
        self._size = len(data) - start
        if self._size:
            self._parts.append(data[start:])
        return events

    def _cut(self, data: bytes, events: list[Event]) -> int:  # noqa: C901, PLR0912  # once a message: no calls
        """Tell what every whole packet says; give where the first one begins that is not whole.

        Raises:
            MalformedError: The events before it are there.
        """
        start, size, new, max_bytes = 0, len(data), self._new, self._max_bytes
        while start + 2 <= size:
            head, length, at = data[start], data[start + 1], start + 2
            if length > 127:
                if at < size and data[at] < 128:  # two bytes, as most packets have them
                    length += (data[at] << 7) - 128
                    at += 1
                else:
                    long = read_varint(data, start + 1, size)
                    if long is None:
                        self._wanted = size - start + 1
                        return start
                    length, at = long
                if length > max_bytes:
                    raise MalformedError(f"packet: expected at most {max_bytes} bytes, got {length}")
            end = at + length
            if end > size:
                self._wanted = end - start
                return start
            if head >> 4 == PUBLISH:
                topic_at = at + 2
                topic_end = topic_at + (data[at] << 8 | data[at + 1]) if length > 1 else end + 1
                rest, number, properties = topic_end, 0, NO_PROPERTIES
                if head & QOS1:
                    rest += 2
                    if rest > end or head & QOS2:
                        raise MalformedError(
                            f"PUBLISH: expected qos 0 or 1 and a whole packet, got flags {head & 15}"
                        )
                    number = data[rest - 2] << 8 | data[rest - 1]
                    if not number:
                        raise MalformedError("PUBLISH: expected a packet number from 1, got 0")
                elif head & QOS2:
                    raise MalformedError("PUBLISH: expected qos 0 or 1, got 2")
                if new:
                    if rest < end and not data[rest]:
                        rest += 1
                    else:
                        properties, rest = read_properties(data, rest, end)
                if rest > end:
                    raise MalformedError(f"PUBLISH: expected a topic within {length} bytes, got a longer one")
                topic, payload, kept = data[topic_at:topic_end], data[rest:end], head & RETAIN == RETAIN
                events.append(Published(topic, payload, number, kept, properties, head & DUP == DUP))
            else:
                read = READERS.get(head)
                if read is None:
                    raise MalformedError(f"packet: expected one for a client, got first byte {head:#04x}")
                events.append(read(data[at:end], new))
            start = end
        self._wanted = 2
        return start


def _accepted(body: bytes, new: bool) -> Event:  # noqa: FBT001 - one of the readers
    if len(body) < 2 or body[0] > 1 or (not new and len(body) != 2):
        raise MalformedError(f"CONNACK: expected flags and a code, got {body[:8].hex(' ') or 'nothing'}")
    code = body[1]
    # A broker that does not speak version 5 answers as 3.1.1 does, without properties.
    properties = _last_properties("CONNACK", body, 2) if len(body) > 2 else NO_PROPERTIES
    if code:
        if code < 128:
            code = OLD_CODES.get(code, UNSPECIFIED)
        return Refused(code, _reason(code, properties))
    receive, keepalive_s = properties.get(RECEIVE_MAXIMUM), properties.get(SERVER_KEEP_ALIVE)
    assert not isinstance(receive, str | bytes | list)  # of a kind that is read as a number
    assert not isinstance(keepalive_s, str | bytes | list)
    return Accepted(body[0] == 1, receive, keepalive_s, int(properties.get(MAXIMUM_QOS) != 0))


def _confirmed(body: bytes, new: bool) -> Event:  # noqa: FBT001 - likewise
    code = 0
    if len(body) != 2:
        if not new or len(body) < 3:
            raise MalformedError(f"PUBACK: expected a packet number, got {len(body)} bytes")
        code = body[2]
        if len(body) > 3:
            _last_properties("PUBACK", body, 3)
    return Confirmed(_number("PUBACK", body), code)


def _subscribed(body: bytes, new: bool) -> Event:  # noqa: FBT001 - likewise
    number, at = _number("SUBACK", body), 2
    if new:
        _, at = read_properties(body, at, len(body))
    if at >= len(body):
        raise MalformedError("SUBACK: expected a code for each topic, got none")
    return Subscribed(number, tuple(body[at:]))


def _pong(body: bytes, _new: bool) -> Event:  # noqa: FBT001 - likewise
    if body:
        raise MalformedError(f"PINGRESP: expected nothing in it, got {len(body)} bytes")
    return Pong()


def _ended(body: bytes, new: bool) -> Event:  # noqa: FBT001 - likewise
    if not new:
        raise MalformedError("packet: expected one for a client, got DISCONNECT, which 3.1.1 does not send")
    code = body[0] if body else 0
    properties = _last_properties("DISCONNECT", body, 1) if len(body) > 1 else NO_PROPERTIES
    return Ended(code, _reason(code, properties))


READERS: dict[int, Callable[[bytes, bool], Event]] = {
    CONNACK << 4: _accepted,
    PUBACK << 4: _confirmed,
    SUBACK << 4: _subscribed,
    PINGRESP << 4: _pong,
    DISCONNECT << 4: _ended,
}
"""By a packet's whole first byte: all but PUBLISH have no flags."""

UNSPECIFIED = 128
OLD_CODES = {1: 132, 2: 133, 3: 136, 4: 134, 5: 135}
"""Codes of 3.1.1 in a CONNACK, and what version 5 calls the same."""


def _number(name: str, body: bytes) -> int:
    number = int.from_bytes(body[:2], "big")
    if len(body) < 2 or not number:
        raise MalformedError(f"{name}: expected a packet number from 1, got {body[:2].hex(' ') or 'nothing'}")
    return number


def _last_properties(name: str, body: bytes, at: int) -> Properties:
    properties, end = read_properties(body, at, len(body))
    if end != len(body):
        raise MalformedError(f"{name}: expected properties to its end, got {len(body) - end} bytes more")
    return properties


def _reason(code: int, properties: Properties) -> str:
    """What a code means; what the broker says beside it."""
    said = properties.get(REASON_STRING)
    more = " ".join(said.split()) if isinstance(said, str) else ""
    return f"{reason_name(code)}: {more}" if more else reason_name(code)
