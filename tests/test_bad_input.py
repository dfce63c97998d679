"""Bad input: no decoder crashes, hangs or takes memory for what is only announced; each has one reason.

`python -m bench.fuzz` goes on where these end: the same decoders, guided by coverage.
"""

import io
import random
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.fuzz import changed
from stream_rnn.config.load import load_config, parse_value
from stream_rnn.errors import ConfigError, ModelError, RecordingError
from stream_rnn.recordings.csv_table import read_csv
from stream_rnn.recordings.mcap import McapRecording, StateFields
from stream_rnn.recordings.table import read_table
from stream_rnn.sample import Sample
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.session.stored import Stored
from tests.decoders import REASONS, X, mcap_seed, sessions, targets

TARGETS = targets()
OF_FILES = {"config", "model", "checkpoint", "mcap", "npz", "csv", "text"}
ENOUGH = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TWO_GIB = 2**31


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_taken(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@ENOUGH
@given(payload=st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(name: str, payload: bytes) -> None:
    TARGETS[name].run(payload)


@pytest.mark.parametrize("name", TARGETS)
@ENOUGH
@given(number=st.integers(0, 2**32))
def test_any_damage_is_taken_or_refused(name: str, number: int) -> None:
    chance = random.Random(number)  # noqa: S311 - no secret
    TARGETS[name].run(changed(chance.choice(TARGETS[name].seeds), chance))


@pytest.mark.parametrize("name", ["json", "spikes_json", "truth", "command", "greeting", "config", "text"])
@pytest.mark.parametrize("bracket", [b"[", b'{"x":', b'{"a":[', b"x=["])
def test_endless_nesting_is_refused(name: str, bracket: bytes) -> None:
    TARGETS[name].run(bracket * 20_000)


def test_every_reason_is_documented() -> None:
    page = Path(__file__).parent.parent.joinpath("docs", "wire.md").read_text()
    assert not [reason for reason in REASONS if f"`{reason}`" not in page]


def mcap_with(size: int) -> bytes:
    """A recording whose second record announces so many bytes."""
    seed = mcap_seed()
    (first,) = struct.unpack_from("<Q", seed, 9)
    at = 8 + 9 + first
    return seed[: at + 1] + struct.pack("<Q", size) + seed[at + 9 :]


def npz_with(shape: str) -> bytes:
    """A table whose features announce this shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"1234")
        archive.writestr("rate_hz.npy", b"")
    return stream.getvalue()


ANNOUNCED = {
    "frame values": ("frame", struct.pack("<2sBBHHIqq", b"sr", 1, 1, 0, 0, TWO_GIB, -1, -1)),
    "frame key": ("frame", struct.pack("<2sBBHHIqq", b"sr", 1, 1, 0, 65535, 1, -1, -1)),
    "msgpack array": ("msgpack", b"\xdd\x80\x00\x00\x00"),
    "msgpack map": ("msgpack", b"\xdf\x80\x00\x00\x00\xa1x"),
    "msgpack text": ("msgpack", b"\xdb\x80\x00\x00\x00"),
    "msgpack bytes": ("msgpack", b"\x81\xa1x\xc6\x80\x00\x00\x00"),
    "msgpack features": ("msgpack", b"\x81\xa1x\xdd\x80\x00\x00\x00\x01"),
    "spikes columns": ("spikes_msgpack", b"\x84\xa5units\xdd\x80\x00\x00\x00"),
    "length of a frame": ("cut_frames", struct.pack("<I", TWO_GIB)),
    "mqtt packet": ("mqtt", b"\x30\xff\xff\xff\x7f"),
    "mqtt topic": ("mqtt", b"\x30\x04\xff\xff\x00\x00"),
    "state bytes": ("state", b"\x9d\x03\xa1m\xa1a\x00\xc0\xc6\x80\x00\x00\x00"),
    "state gaps": ("state", b"\xdd\x80\x00\x00\x00"),
    "model header": ("model", struct.pack("<Q", TWO_GIB) + b"{}"),
    "checkpoint header": ("checkpoint", struct.pack("<Q", 2**63 - 1) + b"{}"),
    "mcap record": ("mcap", mcap_with(TWO_GIB)),
    "mcap shorter record": ("mcap", mcap_with(2**30 - 1)),
    "mcap longest record": ("mcap", mcap_with(2**64 - 1)),
    "npz array": ("npz", npz_with(f"({TWO_GIB // 4}, 1)")),
    "npz negative": ("npz", npz_with("(-1, 1)")),
    "npz text header": ("npz", npz_with("('a', 1)")),
}


@pytest.mark.parametrize("case", ANNOUNCED)
def test_bytes_that_are_only_announced_take_no_memory(case: str) -> None:
    name, payload = ANNOUNCED[case]
    TARGETS[name].run(payload)  # what is imported and compiled on the way is not meant
    tracemalloc.start()
    try:
        TARGETS[name].run(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_compressed_chunk_that_grows_without_end_is_the_end_of_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.mcap").write_bytes(mcap_seed())
    assert len(list(McapRecording(tmp_path / "r.mcap").entries())) == 2
    monkeypatch.setattr("stream_rnn.recordings.mcap.MOST_EXPANDED", 10)
    found = McapRecording(tmp_path / "r.mcap")
    assert list(found.entries()) == []
    assert not found.whole


def test_a_line_without_end_is_refused_before_it_is_collected() -> None:
    cutter = TARGETS["cut_lines"]
    began = time.perf_counter()
    cutter.run(b"x" * (1 << 24))
    assert time.perf_counter() - began < 5


def test_a_number_of_thousands_of_digits_is_text_or_an_error(tmp_path: Path) -> None:
    assert parse_value("9" * 5000) == "9" * 5000
    (tmp_path / "c.toml").write_text("[tcp]\nport = " + "9" * 5000)
    with pytest.raises(ConfigError, match="expected TOML"):
        load_config(tmp_path / "c.toml", {}, {})


def test_a_csv_of_one_row_has_no_rate(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,a\n0,1\n")
    with pytest.raises(RecordingError, match=r"a\.csv:2: expected a second row to tell the rate by"):
        read_csv(tmp_path / "a.csv")


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.array([object()], dtype=object), rate_hz=1.0, allow_pickle=True)
    with pytest.raises(RecordingError, match="got pickled objects, which are refused"):
        read_table(tmp_path / "t.npz")


def stored(**fields: object) -> bytes:
    """A session's state with other fields."""
    made = sessions()
    made.feed([Sample("a", 0, 0, X)], [0], 0, lambda: 0)
    whole = msgspec.msgpack.decode(made.get("a", 0).to_bytes(), type=Stored)
    return msgspec.msgpack.encode(msgspec.structs.replace(whole, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"last_seq": 2**63},
        {"last_seq": -2},
        {"late_run": 2**64 - 1},
        {"gaps": [(0, 2**64 - 1)]},
        {"owed": 1 << 20},
        {"owed": -1},
        {"adapted": b"\xc1"},
        {"adapted": msgspec.msgpack.encode([0.9, b"", b"", np.full(4, 1e300).tobytes()])},
        {"bins": b"\x98\x00\x00\x00\x00\xc4\x00\x90\x00\x00"},
        {"stream": "a+b"},
    ],
)
def test_a_state_that_no_session_left_is_refused_and_changes_nothing(fields: dict[str, object]) -> None:
    made = sessions(most=1)
    made.feed([Sample("a", 0, 0, X)], [0], 0, lambda: 0)
    before = made.get("a", 0).to_bytes()
    for _ in range(5):  # a refused one keeps no room
        with pytest.raises(Exception, match=r"state|stream key") as caught:
            made.restore(stored(**fields), 0)
        assert isinstance(caught.value, ModelError) or "stream key" in str(caught.value)
    assert made.get("a", 0).to_bytes() == before
    assert made.feed([Sample("a", 1, 1, X)], [0], 0, lambda: 0)[0]


def test_a_state_of_another_memory_is_refused() -> None:
    shared = Shared(sessions()._shared.predictor, sessions()._shared.rules, "")
    session = Session("a", shared)
    memory = bytearray(session.memory.to_bytes())
    memory[:8] = struct.pack("<q", -1)
    with pytest.raises(ModelError, match="expected a count of samples from 0, got -1"):
        shared.predictor.shape.check(bytes(memory))


def test_a_recorded_state_that_is_no_base64_is_told() -> None:
    with pytest.raises(RecordingError, match="expected a state in base64"):
        StateFields(0, "\u00e9").bytes()
