"""Every encoding: what goes in comes out, and what is no sample is one named, counted error."""

import json
import struct
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.errors import WireError
from stream_rnn.sample import F32, NONE, Flag, Prediction, Sample, Steps
from stream_rnn.wire import CODECS, WireName
from stream_rnn.wire.frame import HEADER
from stream_rnn.wire.rows import ROWS
from stream_rnn.wire.truth import decode_truth

NAMED: list[WireName] = ["json", "msgpack"]
NUMBERED: list[WireName] = ["json", "msgpack", "frame"]

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
values = st.lists(floats, min_size=1, max_size=20).map(lambda xs: np.array(xs, dtype=np.float32))
numbers = st.integers(0, 2**63 - 1)
keys = st.text(min_size=1, max_size=20)
samples = st.builds(Sample, keys, st.none() | numbers, st.none() | numbers, values)
predictions = st.builds(
    Prediction,
    stream=keys,
    seq=numbers,
    session=st.text("0123456789abcdef", min_size=12, max_size=12),
    model=st.text("0123456789abcdef", min_size=12, max_size=12),
    y=values,
    flags=st.integers(0, 127).map(Flag),
    missed=st.integers(0, 2**32 - 1),
    t_source_ns=st.none() | numbers,
    t_received_ns=numbers,
    t_stepped_ns=numbers,
)


def with_bounds(prediction: Prediction) -> Prediction:
    """The same with an interval."""
    bounds: F32 = np.stack([prediction.y - np.float32(1), prediction.y + np.float32(2)])
    return msgspec.structs.replace(prediction, bounds=np.nan_to_num(bounds))


banded = predictions.map(with_bounds)


def same_bits(a: F32, b: F32) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("wire", NUMBERED)
@given(sample=samples)
def test_sample_survives_to_the_bit(wire: WireName, sample: Sample) -> None:
    (back,) = CODECS[wire].decode_samples(CODECS[wire].encode_sample(sample), "of the topic")
    assert (back.stream, back.seq, back.t_ns) == (sample.stream, sample.seq, sample.t_ns)
    assert same_bits(back.x, sample.x)


@pytest.mark.parametrize("wire", NUMBERED)
@given(prediction=predictions, t_ns=numbers)
def test_prediction_survives_to_the_bit(wire: WireName, prediction: Prediction, t_ns: int) -> None:
    back, published = CODECS[wire].decode_prediction(CODECS[wire].encode_prediction(prediction, t_ns))
    assert published == t_ns
    assert same_bits(back.y, prediction.y)
    for name in ("stream", "seq", "session", "model", "flags", "missed", "t_source_ns", "t_stepped_ns"):
        assert getattr(back, name) == getattr(prediction, name)


@pytest.mark.parametrize("wire", NUMBERED)
@given(prediction=banded, t_ns=numbers)
def test_interval_survives_to_the_bit(wire: WireName, prediction: Prediction, t_ns: int) -> None:
    back, published = CODECS[wire].decode_prediction(CODECS[wire].encode_prediction(prediction, t_ns))
    assert (published, back.seq, back.flags) == (t_ns, prediction.seq, prediction.flags)
    assert same_bits(back.y, prediction.y)
    assert back.bounds is not None
    assert prediction.bounds is not None
    assert same_bits(back.bounds, prediction.bounds)


@pytest.mark.parametrize("wire", NAMED)
def test_interval_comes_after_the_fields_of_a_prediction_and_says_nothing_else(wire: WireName) -> None:
    bare = Prediction("a", 7, "s", "m", np.ones(2, dtype=np.float32), Flag.GAP, 3, None, 5, 6)
    decode = json.loads if wire == "json" else msgspec.msgpack.decode
    without, whole = (decode(CODECS[wire].encode_prediction(p, 9)) for p in (bare, with_bounds(bare)))
    assert list(whole) == [*without, "y_low", "y_high"]
    assert whole == without | {"y_low": [0, 0], "y_high": [3, 3]}


def test_frame_with_an_interval_is_a_kind_of_its_own() -> None:
    bare = Prediction("a", 7, "s", "m", np.ones(2, dtype=np.float32))
    without, whole = (CODECS["frame"].encode_prediction(p, 9) for p in (bare, with_bounds(bare)))
    assert (without[3], whole[3]) == (2, 3)
    assert struct.unpack_from("<I", without, 8) == (2,)
    assert struct.unpack_from("<I", whole, 8) == (6,)
    assert whole[12 : len(without)] == without[12:]
    assert np.frombuffer(whole[len(without) :], "<f4").tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_low": [1.0]}, "prediction: expected y_low and y_high of each output, or neither"),
        (
            {"y_low": [1.0], "y_high": [1.0, 2.0]},
            "prediction: expected y_low and y_high of each output, or neither",
        ),
        ({"y_low": 1}, "prediction: Expected `array | null`, got `int` - at `$.y_low`"),
    ],
)
def test_half_an_interval_is_refused(change: dict[str, object], message: str) -> None:
    bare = Prediction("a", 0, "s", "m", np.ones(1, dtype=np.float32))
    payload = json.loads(CODECS["json"].encode_prediction(bare, 9)) | change
    with pytest.raises(WireError) as caught:
        CODECS["json"].decode_prediction(json.dumps(payload).encode())
    assert (caught.value.reason, str(caught.value)) == ("fields", message)


def test_frame_whose_values_are_not_three_of_each_output_is_refused() -> None:
    payload = bytearray(
        CODECS["frame"].encode_prediction(Prediction("", 0, "s", "m", np.ones(4, np.float32)), 9)
    )
    payload[3] = 3
    with pytest.raises(WireError, match=r"^frame: expected three values for each output, got 4$"):
        CODECS["frame"].decode_prediction(bytes(payload))


def test_end_that_is_not_finite_is_null_in_json() -> None:
    bounds: F32 = np.array([[-np.inf, 0], [np.nan, 1]], dtype=np.float32)
    prediction = Prediction("a", 0, "s", "m", np.ones(2, np.float32), bounds=bounds)
    payload = json.loads(CODECS["json"].encode_prediction(prediction, 0))
    assert (payload["y_low"], payload["y_high"]) == ([None, 0], [None, 1])


@given(x=values)
def test_raw_floats_survive_without_numbers_or_times(x: F32) -> None:
    (sample,) = CODECS["f32"].decode_samples(x.tobytes(), "a")
    assert (sample.stream, sample.seq, sample.t_ns) == ("a", None, None)
    assert same_bits(sample.x, x)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"x": [1, 2.5, -3]}', [("t", None, None, [1, 2.5, -3])]),
        ('{"seq": 7, "t_ns": 1795458454447817244, "x": [0]}', [("t", 7, 1795458454447817244, [0])]),
        ('{"stream": "s", "x": [0], "unit": "mV"}', [("s", None, None, [0])]),
        ("[1, 2]", [("t", None, None, [1, 2])]),
        (
            '[{"timestamp": 1.5, "data": [1]}, {"timestamp": 2, "data": [2]}]',
            [("t", None, 1500, [1]), ("t", None, 2000, [2])],
        ),
        (
            '[{"timestamp": 1795458454447817.5, "data": [1]}]',
            [("t", None, 1795458454447817500, [1])],
        ),
        ("[1, null, 3]", [("t", None, None, [1, float("nan"), 3])]),
        ("[1e300, -1e300]", [("t", None, None, [float("inf"), float("-inf")])]),
    ],
)
def test_json_by_hand_is_read(
    text: str, expected: list[tuple[str, int | None, int | None, list[float]]]
) -> None:
    got = CODECS["json"].decode_samples(text.encode(), "t")
    for sample, (stream, seq, t_ns, x) in zip(got, expected, strict=True):
        assert (sample.stream, sample.seq, sample.t_ns) == (stream, seq, t_ns)
        np.testing.assert_array_equal(sample.x, np.array(x, dtype=np.float32))


FRAME = CODECS["frame"].encode_sample(Sample("a", 1, 2, np.ones(3, dtype=np.float32)))


def frame(**changed: int | bytes) -> bytes:
    fields = dict(
        zip(
            ("magic", "version", "kind", "flags", "key", "count", "seq", "t_ns"),
            HEADER.unpack_from(FRAME),
            strict=True,
        )
    )
    return HEADER.pack(*(fields | changed).values()) + FRAME[HEADER.size :]


@pytest.mark.parametrize(
    ("wire", "payload", "reason", "message"),
    [
        ("json", b"", "syntax", "stream 't': expected JSON: Input data was truncated"),
        ("json", b"{", "syntax", "stream 't': expected JSON: Input data was truncated"),
        ("json", b"\xff\xfe", "syntax", "stream 't': expected JSON: "),
        (
            "json",
            b"[[[[",
            "fields",
            "stream 't': Expected ",
        ),
        ("json", b"3", "fields", "stream 't': Expected `object | array`, got `int`"),
        ("json", b"{}", "fields", "stream 't': Object missing required field `x`"),
        ("json", b'{"x": "no"}', "fields", "stream 't': Expected `array`, got `str` - at `$.x`"),
        (
            "json",
            b'{"x": [true]}',
            "fields",
            "stream 't': Expected `float | null`, got `bool`",
        ),
        ("json", b'{"x": [1], "seq": -1}', "fields", "stream 't': Expected `int` >= 0 - at `$.seq`"),
        (
            "json",
            b'{"x": [1], "seq": 1.5}',
            "fields",
            "stream 't': Expected `int | null`, got `float` - at `$.seq`",
        ),
        ("json", b'{"x": [1], "t_ns": 1e999}', "fields", "stream 't': "),
        ("json", b"[]", "fields", "sample: expected at least one feature, got an empty array"),
        ("json", b'{"x": []}', "fields", "sample: expected at least one feature, got an empty array"),
        (
            "json",
            b'[{"timestamp": 1, "data": [1]}, 2]',
            "fields",
            "stream 't': expected objects only, got a mixed array",
        ),
        (
            "json",
            b'[2, {"timestamp": 1, "data": [1]}]',
            "fields",
            "sample: expected numbers only, got a mixed array",
        ),
        ("msgpack", b"\xc1", "syntax", "stream 't': expected MessagePack: "),
        ("msgpack", b"\x93\x01", "syntax", "stream 't': expected MessagePack: Input data was truncated"),
        ("f32", b"", "length", "stream 't': expected whole float32 values, got 0 bytes"),
        ("f32", b"12345", "length", "stream 't': expected whole float32 values, got 5 bytes"),
        ("frame", b"sr", "length", "frame: expected at least 28 bytes, got 2"),
        ("frame", frame(magic=b"SR"), "syntax", "frame: expected magic b'sr', got b'SR'"),
        ("frame", frame(version=2), "version", "frame: expected version 1, got 2"),
        ("frame", frame(kind=2), "fields", "frame: expected kind 1, got kind 2, flags 0x0"),
        ("frame", frame(flags=1 << 15), "fields", "frame: expected kind 1, got kind 1, flags 0x8000"),
        ("frame", frame(seq=-2), "fields", "frame: expected seq and t_ns from 0 (-1: none), got -2, 2"),
        (
            "frame",
            frame(count=2**32 - 1),
            "length",
            "frame: expected 17179869212 bytes for 4294967295 values, got 44",
        ),
        ("frame", frame(count=0), "length", "frame: expected 32 bytes for 0 values, got 44"),
        ("frame", FRAME[:-1], "length", "frame: expected 44 bytes for 3 values, got 43"),
        (
            "frame",
            FRAME[:28] + b"\xff" + FRAME[29:],
            "encoding",
            "frame: expected UTF-8 text, got invalid start byte",
        ),
    ],
)
def test_what_is_no_sample_is_named(wire: WireName, payload: bytes, reason: str, message: str) -> None:
    with pytest.raises(WireError) as caught:
        CODECS[wire].decode_samples(payload, "t")
    assert caught.value.reason == reason
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wire", list(CODECS))
@given(payload=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: FRAME[:28] + tail))
def test_any_bytes_give_samples_or_a_wire_error(wire: WireName, payload: bytes) -> None:
    codec = CODECS[wire]
    reasons = [
        _refusal(lambda: codec.decode_samples(payload, "t")),
        _refusal(lambda: codec.decode_prediction(payload)),
    ]
    assert set(reasons) <= {"", "syntax", "fields", "length", "version", "encoding"}


def _refusal(decode: Callable[[], object]) -> str:
    """The reason it is refused for; empty where it is not. Any other exception is a bug."""
    try:
        decode()
    except WireError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("wire", NAMED)
def test_endless_nesting_is_refused(wire: WireName) -> None:
    payload = b"[" * 100_000 if wire == "json" else b"\x91" * 100_000
    with pytest.raises(WireError):
        CODECS[wire].decode_samples(payload, "t")


def test_output_that_is_not_finite_is_null_in_json() -> None:
    y: F32 = np.array([1.5, np.nan, np.inf], dtype=np.float32)
    prediction = Prediction("a", 0, "s", "m", y, Flag.NAN)
    payload = json.loads(CODECS["json"].encode_prediction(prediction, 0))
    assert payload["y"] == [1.5, None, None]
    assert payload["flags"] == ["nan"]


def test_prediction_fields_come_in_the_order_of_the_documentation() -> None:
    payload = CODECS["json"].encode_prediction(Prediction("a", 0, "s", "m", np.ones(1, dtype=np.float32)), 9)
    assert list(json.loads(payload)) == [
        "v", "stream", "seq", "session", "y", "model", "flags", "missed",
        "t_source_ns", "t_received_ns", "t_stepped_ns", "t_published_ns",
    ]  # fmt: skip


def test_frame_says_the_most_it_can_of_a_longer_gap() -> None:
    payload = CODECS["frame"].encode_prediction(
        Prediction("a", 0, "s", "m", np.ones(1, dtype=np.float32), missed=2**40), 9
    )
    assert CODECS["frame"].decode_prediction(payload)[0].missed == 2**32 - 1


def test_prediction_of_another_version_or_with_an_unknown_flag_is_refused() -> None:
    payload = json.loads(
        CODECS["json"].encode_prediction(Prediction("a", 0, "s", "m", np.ones(1, dtype=np.float32)), 9)
    )
    for change, reason in (({"v": 2}, "version"), ({"flags": ["new"]}, "fields")):
        with pytest.raises(WireError) as caught:
            CODECS["json"].decode_prediction(json.dumps(payload | change).encode())
        assert caught.value.reason == reason


def test_frame_header_is_the_documented_one() -> None:
    assert (
        struct.pack("<2sBBHHIqq", b"sr", 1, 1, 0, 1, 3, 1, 2) + b"a\0\0\0" + struct.pack("<3f", 1, 1, 1)
        == FRAME
    )


def many(key: str, *numbers: tuple[int | None, int | None]) -> list[Sample]:
    xs: F32 = np.random.default_rng(3).standard_normal((len(numbers), 5)).astype(np.float32)
    return [Sample(key, seq, t_ns, x) for (seq, t_ns), x in zip(numbers, xs, strict=True)]


@pytest.mark.parametrize("wire", ROWS)
@pytest.mark.parametrize("key", ["", "a", "left-hand", "ä"])
def test_rows_are_the_samples_one_by_one(wire: WireName, key: str) -> None:
    samples = many(key, (None, None), (0, 1), (2**63 - 1, 2**63 - 1), (7, None))
    payloads = [CODECS[wire].encode_sample(sample) for sample in samples]
    streams = [f"topic {i}" for i in range(len(payloads))]
    rows = ROWS[wire].decode(payloads, streams)
    assert rows is not None
    one_by_one = [CODECS[wire].decode_samples(p, s).pop() for p, s in zip(payloads, streams, strict=True)]
    for got, sample in zip(rows.samples(), one_by_one, strict=True):
        assert (got.stream, got.seq, got.t_ns) == (sample.stream, sample.seq, sample.t_ns)
        assert same_bits(got.x, sample.x)


@pytest.mark.parametrize("wire", ROWS)
def test_payloads_of_two_lengths_are_no_rows(wire: WireName) -> None:
    payloads = [
        CODECS[wire].encode_sample(Sample("", None, None, x))
        for x in (np.ones(2, np.float32), np.ones(3, np.float32))
    ]
    assert ROWS[wire].decode(payloads, ["a", "a"]) is None


@pytest.mark.parametrize("payload", [b"", b"\0" * 7])
def test_what_is_no_float32_is_no_rows(payload: bytes) -> None:
    assert ROWS["f32"].decode([payload, payload], ["a", "a"]) is None


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("at", range(HEADER.size + 4))
def test_one_frame_of_another_form_makes_all_no_rows(row: int, at: int) -> None:
    payloads = [bytearray(CODECS["frame"].encode_sample(sample)) for sample in many("abcd", (1, 2), (3, 4))]
    payloads[row][at] ^= 0x80
    frames = [bytes(payload) for payload in payloads]
    rows = ROWS["frame"].decode(frames, ["", ""])
    free = at in range(12, 19) or at in range(20, 27)  # a number, and not its sign
    assert (rows is not None) == free


@pytest.mark.parametrize("wire", ROWS)
def test_rows_are_answered_with_the_bytes_of_each_prediction(wire: WireName) -> None:
    y: F32 = np.random.default_rng(4).standard_normal((3, 2)).astype(np.float32)
    steps = Steps(
        ["a", "left-hand", "ä"], [1, 2**63 - 1, 0], [NONE, 5, 0], y, "s" * 12, "m" * 12, [6, 7, 8], 9
    )
    columns = zip(steps.streams, steps.seqs, steps.times, y, steps.t_received_ns, strict=True)
    predictions = [
        Prediction(
            stream, seq, "s" * 12, "m" * 12, y, Flag(0), 0, None if t_ns == NONE else t_ns, received, 9
        )
        for stream, seq, t_ns, y, received in columns
    ]
    assert ROWS[wire].encode(steps, 10) == [CODECS[wire].encode_prediction(p, 10) for p in predictions]
    if wire != "f32":
        predictions = [with_bounds(p) for p in predictions]
        steps = steps._replace(bounds=np.stack([p.bounds for p in predictions if p.bounds is not None]))
        assert ROWS[wire].encode(steps, 10) == [CODECS[wire].encode_prediction(p, 10) for p in predictions]


def test_truth_is_read_and_what_is_none_is_named() -> None:
    assert decode_truth(b'{"seq": 7, "y": [1.5, null], "t_ns": 3}', "a")[:2] == ("a", 7)
    assert decode_truth(b'{"seq": 7, "y": [1], "stream": "b"}', "a").stream == "b"
    for payload, message in {
        b"{": "truth of 'a': expected JSON: Input data was truncated",
        b"[1]": "truth of 'a': Expected `object`, got `array`",
        b'{"y": [1]}': "truth of 'a': Object missing required field `seq`",
        b'{"seq": -1, "y": [1]}': "truth of 'a': Expected `int` >= 0 - at `$.seq`",
        b'{"seq": 1, "y": []}': "truth of 'a': expected at least one output, got an empty array",
        b'{"seq": 1, "y": ["1"]}': "truth of 'a': Expected `float | null`, got `str` - at `$.y[0]`",
    }.items():
        with pytest.raises(WireError) as caught:
            decode_truth(payload, "a")
        assert str(caught.value) == message
