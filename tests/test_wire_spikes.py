"""Packets of spikes: what goes in comes out, and what is no packet is one named, counted error."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.errors import WireError
from stream_rnn.sample import Spikes
from stream_rnn.wire import SPIKES, SpikesName, answer_of

NAMES: list[SpikesName] = ["spikes_json", "spikes_msgpack"]
PACKET = {"from_ns": 1000, "to_ns": 2000, "units": [3, 17, 3], "times_ns": [1000, 1999, 1500]}


@st.composite
def packets(draw: st.DrawFn) -> Spikes:
    from_ns, to_ns = sorted(draw(st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=2, unique=True)))
    pairs = draw(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(from_ns, to_ns - 1)), max_size=9))
    key = draw(st.text(min_size=1, max_size=20))
    return Spikes(key, from_ns, to_ns, [unit for unit, _ in pairs], [t_ns for _, t_ns in pairs])


@pytest.mark.parametrize("wire", NAMES)
@given(packet=packets())
def test_packet_survives(wire: SpikesName, packet: Spikes) -> None:
    codec = SPIKES[wire]
    assert codec.decode(codec.encode(packet), "of the topic") == packet


@pytest.mark.parametrize("wire", NAMES)
def test_key_of_the_topic_stands_where_the_packet_has_none(wire: SpikesName) -> None:
    codec = SPIKES[wire]
    payload = codec.encode(Spikes("", 0, 1, [], []))
    assert b"stream" not in payload
    assert codec.decode(payload, "of the topic").stream == "of the topic"


def test_fields_of_the_producer_are_left_alone() -> None:
    payload = json.dumps(PACKET | {"amplitudes": [1, 2, 3]}).encode()
    assert SPIKES["spikes_json"].decode(payload, "a") == Spikes(
        "a", 1000, 2000, [3, 17, 3], [1000, 1999, 1500]
    )


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"to_ns": 1000}, "interval", "expected to_ns after from_ns 1000, got 1000"),
        ({"units": [3]}, "length", "expected a unit for each time, got 1 units, 3 times"),
        (
            {"times_ns": [1000, 2000, 1500]},
            "interval",
            "expected times from 1000 on and before 2000, got 2000 at 1",
        ),
        (
            {"times_ns": [1000, 1500, 999]},
            "interval",
            "expected times from 1000 on and before 2000, got 999 at 2",
        ),
        ({"units": [3, -1, 3]}, "fields", "Expected `int` >= 0 - at `$.units[1]`"),
        ({"units": [3, 2**31, 3]}, "fields", "Expected `int` <= 2147483647 - at `$.units[1]`"),
        ({"from_ns": -1}, "fields", "Expected `int` >= 0 - at `$.from_ns`"),
        ({"to_ns": 2**63}, "fields", "Expected `int` <= 9223372036854775807 - at `$.to_ns`"),
        ({"from_ns": 0.5}, "fields", "Expected `int`, got `float` - at `$.from_ns`"),
    ],
)
@pytest.mark.parametrize("wire", NAMES)
def test_what_is_no_packet_is_refused(
    wire: SpikesName, change: dict[str, object], reason: str, message: str
) -> None:
    encode = msgspec.json.encode if wire == "spikes_json" else msgspec.msgpack.encode
    with pytest.raises(WireError) as caught:
        SPIKES[wire].decode(encode(PACKET | change), "a")
    assert (caught.value.reason, str(caught.value)) == (reason, f"stream 'a': {message}")


@pytest.mark.parametrize("missing", PACKET)
def test_column_that_is_missing_is_no_silence(missing: str) -> None:
    fields = {name: value for name, value in PACKET.items() if name != missing}
    with pytest.raises(WireError, match=rf"^stream 'a': Object missing required field `{missing}`$"):
        SPIKES["spikes_json"].decode(json.dumps(fields).encode(), "a")


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("wire", NAMES)
def test_bytes_that_are_nothing_are_refused(wire: SpikesName, payload: bytes) -> None:
    with pytest.raises(WireError):
        SPIKES[wire].decode(payload, "a")


def test_packets_are_answered_in_the_encoding_they_came_in() -> None:
    assert [answer_of(wire) for wire in NAMES] == ["json", "msgpack"]
    assert answer_of("frame") == "frame"
