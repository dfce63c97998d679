"""Bytes of a broker to events: cut anywhere, damaged anyhow, too long."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from stream_rnn.transports.base import Publication
from stream_rnn.transports.mqtt_packets import PINGREQ, Writer, again, is_qos0_publish, puback
from stream_rnn.transports.mqtt_parser import (
    Accepted,
    Confirmed,
    Ended,
    Event,
    Malformed,
    Parser,
    Pong,
    Published,
    Refused,
    Subscribed,
)
from stream_rnn.transports.mqtt_properties import (
    CORRELATION_DATA,
    KINDS,
    MAX_VARINT,
    REASON_STRING,
    RESPONSE_TOPIC,
    USER_PROPERTY,
    Properties,
    read_properties,
    read_varint,
    write_properties,
    write_varint,
)
from stream_rnn.transports.topics import matches

LIMIT = 1 << 16
VERSIONS = pytest.mark.parametrize("new", [False, True], ids=["3.1.1", "5"])


@st.composite
def said(draw: st.DrawFn, *, new: bool) -> tuple[bytes, Event]:
    """A packet, and what it says."""
    writer = Writer(new=new)
    number = draw(st.integers(1, 65535))
    kind = draw(st.sampled_from(["publish", "puback", "suback", "connack", "pingresp"]))
    if kind == "publish":
        topic = draw(st.text("abc/é", min_size=1, max_size=300))
        payload = draw(st.binary(max_size=20) | st.binary(min_size=16_300, max_size=16_400))
        number *= draw(st.booleans())
        retain = draw(st.booleans())
        properties: Properties = {}
        if new and draw(st.booleans()):
            properties = {RESPONSE_TOPIC: "r", CORRELATION_DATA: b"\0"}
        written = writer.topic(topic)
        assert written is not None
        packet = writer.publish(written, payload, retain, properties, number)
        return packet, Published(topic.encode(), payload, number, retain, properties)
    end = b"\0" if new else b""
    said_number = number.to_bytes(2, "big")
    if kind == "puback":
        if new and draw(st.booleans()):
            return b"\x40\x03" + said_number + b"\x87", Confirmed(number, 0x87)
        return puback(number), Confirmed(number, 0)
    if kind == "suback":
        codes = draw(st.lists(st.sampled_from([0, 1, 128]), min_size=1, max_size=3))
        body = said_number + end + bytes(codes)
        return b"\x90" + write_varint(len(body)) + body, Subscribed(number, tuple(codes))
    if kind == "connack":
        present = draw(st.booleans())
        return b"\x20" + bytes((2 + len(end), present, 0)) + end, Accepted(session_present=present)
    return b"\xd0\0", Pong()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def fed(pieces: list[bytes], *, new: bool, limit: int = LIMIT) -> list[Event]:
    parser = Parser(new=new, max_bytes=limit)
    return [event for piece in pieces for event in parser.feed(piece)]


@VERSIONS
@given(data=st.data())
def test_events_do_not_depend_on_where_bytes_are_cut(new: bool, data: st.DataObject) -> None:  # noqa: FBT001
    packets = data.draw(st.lists(said(new=new), max_size=6))
    stream = b"".join(packet for packet, _ in packets)
    places = data.draw(st.lists(st.integers(0, max(1, len(stream))), max_size=10))
    assert fed(cut(stream, places), new=new) == [event for _, event in packets]
    assert fed([stream], new=new) == [event for _, event in packets]


@VERSIONS
def test_one_byte_at_a_time_says_the_same(new: bool) -> None:  # noqa: FBT001
    writer = Writer(new=new)
    stream = writer.publish(b"\0\x01a", bytes(300), number=7) + b"\xd0\0" + writer.publish(b"\0\x01b", b"")
    events = fed([stream[i : i + 1] for i in range(len(stream))], new=new)
    assert events == [
        Published(b"a", bytes(300), 7, retain=False, properties={}),
        Pong(),
        Published(b"b", b"", 0, retain=False, properties={}),
    ]


@VERSIONS
@given(garbage=st.binary(max_size=200), places=st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_give_events_or_one_last_error_wherever_they_are_cut(
    new: bool,  # noqa: FBT001
    garbage: bytes,
    places: list[int],
) -> None:
    whole = fed([garbage], new=new)
    assert fed(cut(garbage, places), new=new) == whole
    errors = [event for event in whole if isinstance(event, Malformed)]
    assert errors in ([], whole[-1:])
    assert all("\n" not in error.reason for error in errors)


@VERSIONS
def test_nothing_comes_after_an_error(new: bool) -> None:  # noqa: FBT001
    parser = Parser(new=new, max_bytes=LIMIT)
    assert parser.feed(b"\xd0\0\xf0\0\xd0\0") == [
        Pong(),
        Malformed("packet: expected one for a client, got first byte 0xf0"),
    ]
    assert parser.feed(b"\xd0\0") == []


@pytest.mark.parametrize(
    ("new", "packet", "reason"),
    [
        (False, "30 00", "PUBLISH: expected a topic within 0 bytes, got a longer one"),
        (False, "30 03 00 05 61", "PUBLISH: expected a topic within 3 bytes, got a longer one"),
        (False, "32 03 00 01 61", "PUBLISH: expected qos 0 or 1 and a whole packet, got flags 2"),
        (False, "32 05 00 01 61 00 00", "PUBLISH: expected a packet number from 1, got 0"),
        (False, "34 05 00 01 61 00 01", "PUBLISH: expected qos 0 or 1, got 2"),
        (False, "36 05 00 01 61 00 01", "PUBLISH: expected qos 0 or 1 and a whole packet, got flags 6"),
        (True, "30 03 00 01 61", "properties: expected them to end within their packet, got more"),
        (True, "30 04 00 01 61 05", "properties: expected them to end within their packet, got more"),
        (True, "30 06 00 01 61 02 7f 00", "properties: expected a number that MQTT 5 knows, got 0x7f"),
        (True, "30 06 00 01 61 02 02 00", "properties: expected a whole number, got its beginning"),
        (True, "30 07 00 01 61 03 08 00 09", "properties: expected a whole text, got its beginning"),
        (True, "30 08 00 01 61 04 08 00 01 ff", "properties: expected UTF-8 text, got invalid start byte"),
        (False, "40 01 00", "PUBACK: expected a packet number, got 1 bytes"),
        (False, "40 02 00 00", "PUBACK: expected a packet number from 1, got 00 00"),
        (False, "90 02 00 01", "SUBACK: expected a code for each topic, got none"),
        (False, "20 01 00", "CONNACK: expected flags and a code, got 00"),
        (False, "e0 00", "packet: expected one for a client, got DISCONNECT, which 3.1.1 does not send"),
        (False, "d0 01 00", "PINGRESP: expected nothing in it, got 1 bytes"),
        (False, "30 80 80 80 80", "length: expected at most four bytes, got more"),
        (False, "82 00", "packet: expected one for a client, got first byte 0x82"),
    ],
)
def test_what_is_no_mqtt_is_told_in_one_line(new: bool, packet: str, reason: str) -> None:  # noqa: FBT001
    assert fed([bytes.fromhex(packet)], new=new) == [Malformed(reason)]


def test_packet_over_the_limit_is_refused_by_its_first_bytes() -> None:
    announced = b"\x30\xff\xff\xff\x7f"
    tracemalloc.start()
    events = fed([announced], new=False, limit=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert events == [Malformed("packet: expected at most 1000 bytes, got 268435455")]
    assert peak < 100_000


def test_parser_holds_no_more_than_it_was_fed() -> None:
    parser = Parser(new=False, max_bytes=MAX_VARINT)
    tracemalloc.start()
    assert parser.feed(b"\x30\xff\xff\xff\x7f") == []
    assert all(parser.feed(bytes(100)) == [] for _ in range(100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("new", "packet", "event"),
    [
        (False, "20 02 00 05", Refused(135, "not authorized")),
        (False, "20 02 00 01", Refused(132, "unsupported protocol version")),
        (False, "20 02 00 63", Refused(128, "unspecified error")),
        (True, "20 03 00 86 00", Refused(134, "bad user name or password")),
        (True, "20 09 00 87 06 1f 00 03 6e 6f 21", Refused(135, "not authorized: no!")),
        (True, "20 02 00 01", Refused(132, "unsupported protocol version")),  # a broker of 3.1.1
        (
            True,
            "20 0b 01 00 08 21 00 14 13 00 0a 24 00",
            Accepted(session_present=True, receive_maximum=20, keepalive_s=10, maximum_qos=0),
        ),
        (True, "e0 00", Ended(0, "success")),
        (True, "e0 01 8e", Ended(142, "session taken over")),
        (True, "e0 01 e0", Ended(224, "reason code 224")),
    ],
)
def test_reasons_are_told_in_words(new: bool, packet: str, event: Event) -> None:  # noqa: FBT001
    assert fed([bytes.fromhex(packet)], new=new) == [event]


@given(value=st.integers(0, MAX_VARINT), tail=st.binary(max_size=3))
def test_varint_survives_and_ends_where_it_ends(value: int, tail: bytes) -> None:
    written = write_varint(value)
    assert 1 <= len(written) <= 4
    assert read_varint(written + tail, 0, len(written + tail)) == (value, len(written))
    assert read_varint(written, 0, len(written) - 1) is None


def test_every_kind_of_property_survives() -> None:
    values = {"byte": 1, "short": 2, "long": 3, "varint": 300, "text": "é", "bytes": b"\xff", "pair": None}
    said = {number: values[kind] for number, kind in KINDS.items() if kind != "pair"}
    written = write_properties(said)  # type: ignore[arg-type]  # no pair among them
    assert read_properties(written, 0, len(written)) == (said, len(written))


def test_user_properties_are_all_kept() -> None:
    pair = bytes((USER_PROPERTY,)) + b"\0\x01a\0\x01b"
    assert read_properties(bytes((2 * len(pair),)) + pair * 2, 0, 15) == (
        {USER_PROPERTY: [("a", "b"), ("a", "b")]},
        15,
    )


def test_reason_of_several_lines_becomes_one() -> None:
    said = write_properties({REASON_STRING: "go\naway"})
    body = b"\0\x87" + said
    assert fed([b"\x20" + bytes((len(body),)) + body], new=True) == [Refused(135, "not authorized: go away")]


def test_packets_of_a_client_are_those_of_the_standard() -> None:
    old, new = Writer(new=False), Writer(new=True)
    will = Publication("w", b"x", 1, retain=True)
    connect = old.connect(client_id="c", clean=True, keepalive_s=30, username="u", password="p", will=will)  # noqa: S106
    assert connect.hex(" ") == (
        "10 19 00 04 4d 51 54 54 04 ee 00 1e 00 01 63 00 01 77 00 01 78 00 01 75 00 01 70"
    )
    connect = new.connect(client_id="", clean=False, keepalive_s=5, session_expiry_s=9, max_bytes=99)
    assert connect.hex(" ") == ("10 17 00 04 4d 51 54 54 05 00 00 05 0a 27 00 00 00 63 11 00 00 00 09 00 00")
    assert old.subscribe(7, "a/+", 1).hex(" ") == "82 08 00 07 00 03 61 2f 2b 01"
    assert new.subscribe(7, "a", 0).hex(" ") == "82 07 00 07 00 00 01 61 00"
    published = new.publish(b"\0\x01t", b"p", retain=True, properties={CORRELATION_DATA: b"k"}, number=3)
    assert published.hex(" ") == "33 0b 00 01 74 00 03 04 09 00 01 6b 70"
    assert again(published)[0] == 0x3B
    assert PINGREQ.hex(" ") == "c0 00"
    assert [is_qos0_publish(p) for p in (old.publish(b"\0\x01t", b""), published, PINGREQ)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("topic", ["", "a/#", "a/+", "a\0b", "\ud800", "x" * 65536])
def test_topic_that_mqtt_does_not_allow_is_not_written(topic: str) -> None:
    assert Writer(new=False).topic(topic) is None


levels = st.sampled_from(["a", "b", "", "$x", "+", "#"])


@given(wanted=st.lists(levels, min_size=1, max_size=4), topic=st.lists(levels, min_size=1, max_size=4))
def test_topics_match_as_paho_says(wanted: list[str], topic: list[str]) -> None:
    if "#" in wanted[:-1] or {"+", "#"} & set(topic) or topic[0] == "" == wanted[0]:
        return
    asked, said = "/".join(wanted), "/".join(topic)
    if asked and said:
        assert matches(asked, said) == topic_matches_sub(asked, said)
