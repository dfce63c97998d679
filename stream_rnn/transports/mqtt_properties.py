"""Variable-length integers and the properties of MQTT 5. No I/O."""

import struct
from collections.abc import Mapping
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["byte", "short", "long", "varint", "text", "bytes", "pair"]

PropertyValue: TypeAlias = int | str | bytes | list[tuple[str, str]]
Properties: TypeAlias = Mapping[int, PropertyValue]
"""By the number that the standard gives each."""

RESPONSE_TOPIC, CORRELATION_DATA = 0x08, 0x09
SESSION_EXPIRY, SERVER_KEEP_ALIVE, REASON_STRING = 0x11, 0x13, 0x1F
RECEIVE_MAXIMUM, MAXIMUM_QOS, USER_PROPERTY, MAXIMUM_PACKET_SIZE = 0x21, 0x24, 0x26, 0x27

KINDS: dict[int, Kind] = {
    0x01: "byte",  # payload format
    0x02: "long",  # message expiry
    0x03: "text",  # content type
    RESPONSE_TOPIC: "text",
    CORRELATION_DATA: "bytes",
    0x0B: "varint",  # subscription identifier
    SESSION_EXPIRY: "long",
    0x12: "text",  # assigned client identifier
    SERVER_KEEP_ALIVE: "short",
    0x15: "text",  # authentication method
    0x16: "bytes",  # authentication data
    0x17: "byte",  # request problem information
    0x18: "long",  # will delay
    0x19: "byte",  # request response information
    0x1A: "text",  # response information
    0x1C: "text",  # server reference
    REASON_STRING: "text",
    RECEIVE_MAXIMUM: "short",
    0x22: "short",  # topic alias maximum
    0x23: "short",  # topic alias
    MAXIMUM_QOS: "byte",
    0x25: "byte",  # retain available
    USER_PROPERTY: "pair",
    MAXIMUM_PACKET_SIZE: "long",
    0x28: "byte",  # wildcard subscriptions
    0x29: "byte",  # subscription identifiers
    0x2A: "byte",  # shared subscriptions
}
"""Every property of the standard (MQTT 5, table 2-4) and how its value is written."""

SIZES: dict[Kind, int] = {"byte": 1, "short": 2, "long": 4}
MAX_VARINT = 268_435_455


class MalformedError(Exception):
    """These bytes are not MQTT."""


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """A variable-length integer and where it ends; None where `end` comes first.

    Raises:
        MalformedError: It has more than four bytes.
    """
    value = 0
    for place in range(4):
        if at + place >= end:
            return None
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise MalformedError("length: expected at most four bytes, got more")


def write_varint(value: int) -> bytes:
    """An integer from 0 to MAX_VARINT in one to four bytes."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_properties(data: bytes, at: int, end: int) -> tuple[Properties, int]:
    """The properties that begin at a place, and where they end.

    Raises:
        MalformedError: An unknown one, or they do not end before `end`.
    """
    length = read_varint(data, at, end)
    if length is None or sum(length) > end:
        raise MalformedError("properties: expected them to end within their packet, got more")
    at, end = length[1], sum(length)
    found: dict[int, PropertyValue] = {}
    while at < end:
        number = data[at]
        kind = KINDS.get(number)
        if kind is None:
            raise MalformedError(f"properties: expected a number that MQTT 5 knows, got {number:#04x}")
        value, at = _read(data, at + 1, end, kind)
        if kind == "pair":
            found.setdefault(number, []).append(value)  # type: ignore[union-attr,arg-type]  # all of them are pairs
        else:
            found[number] = value
    return found, end


def _read(data: bytes, at: int, end: int, kind: Kind) -> tuple[PropertyValue, int]:
    if kind == "varint":
        found = read_varint(data, at, end)
        if found is None:
            raise MalformedError("properties: expected a whole number, got its beginning")
        return found
    if kind in SIZES:
        after = at + SIZES[kind]
        if after > end:
            raise MalformedError("properties: expected a whole number, got its beginning")
        return int.from_bytes(data[at:after], "big"), after
    raw, at = _read_bytes(data, at, end)
    if kind == "bytes":
        return raw, at
    text = _text(raw)
    if kind == "text":
        return text, at
    raw, at = _read_bytes(data, at, end)
    return (text, _text(raw)), at  # type: ignore[return-value]  # one of a list


def _read_bytes(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    after = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if at + 2 > end or after > end:
        raise MalformedError("properties: expected a whole text, got its beginning")
    return data[at + 2 : after], after


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"properties: expected UTF-8 text, got {error.reason}") from None


def write_properties(properties: Properties) -> bytes:
    """Properties with their length before them."""
    out = b"".join(bytes((number,)) + _write(value, KINDS[number]) for number, value in properties.items())
    return write_varint(len(out)) + out


def _write(value: PropertyValue, kind: Kind) -> bytes:
    if isinstance(value, int):
        return write_varint(value) if kind == "varint" else value.to_bytes(SIZES[kind], "big")
    assert not isinstance(value, list)  # nothing that we send has user properties
    return write_bytes(value.encode() if isinstance(value, str) else value)


LENGTH = struct.Struct(">H")


def write_bytes(value: bytes) -> bytes:
    """Bytes with their length, 16 bits, before them."""
    return LENGTH.pack(len(value)) + value
