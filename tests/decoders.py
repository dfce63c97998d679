"""Every decoder as one call of bytes: what is bad is one error of ours, under a known reason, never a crash.

`tests/test_bad_input.py` gives them made-up bytes, `bench/fuzz.py` bytes that a coverage-guided fuzzer finds.
"""

import atexit
import contextlib
import functools
import io
import itertools
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from safetensors.numpy import save

from stream_rnn.config.load import load_config, parse_value
from stream_rnn.config.sections import Config
from stream_rnn.daemon.commands import VERBS, Answer, Commands
from stream_rnn.errors import (
    ConfigError,
    CountedError,
    ModelError,
    RecordingError,
    StateError,
    StreamRnnError,
    WireError,
)
from stream_rnn.interval import Interval
from stream_rnn.model.file import load_model, model_bytes
from stream_rnn.operations.logs import log_line
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.csv_table import read_csv
from stream_rnn.recordings.mcap import Entry, McapRecording, McapWriter
from stream_rnn.recordings.source import samples_of
from stream_rnn.recordings.table import read_table
from stream_rnn.sample import Flag, Prediction, Sample, Spikes
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.session.table import Sessions
from stream_rnn.state.journal import Journal
from stream_rnn.state.store import Store
from stream_rnn.training.checkpoint import checkpoint_bytes, read_checkpoint
from stream_rnn.training.run import State
from stream_rnn.transports.admission import check_greeting, greeting
from stream_rnn.transports.cut import CUTTERS, Framing
from stream_rnn.transports.mqtt_packets import Writer
from stream_rnn.transports.mqtt_parser import Malformed, Parser
from stream_rnn.wire import CODECS, SPIKES, SpikesName, WireName
from stream_rnn.wire.rows import ROWS
from stream_rnn.wire.truth import decode_truth
from tests.small import calibrated, small_model

REASONS = frozenset(
    (
        "syntax",
        "fields",
        "length",
        "encoding",
        "version",
        "width",
        "interval",
        "unit",
        "stream",
        "streams",
        "seq",
    )
)
"""Under which a sample may be counted: docs/wire.md tells them all."""
X = np.array([1, 2, 3, 4, np.nan], np.float32)
MAX_BYTES = 1 << 16


class Target(NamedTuple):
    """One decoder.

    Attributes:
        run: Takes bytes; raises only on a bug.
        seeds: Well-formed bytes to begin with.
    """

    run: Callable[[bytes], object]
    seeds: list[bytes]


@functools.cache
def predictor() -> Predictor:
    """A small model, compiled, whose predictions can have intervals."""
    return Predictor(calibrated(small_model()))


@functools.cache
def interval() -> Interval:
    """Intervals that follow the truth."""
    return Interval(predictor().model.calibration(), 0.9, pending=8)


def sessions(most: int = 4) -> Sessions:
    """Room for few streams."""
    return Sessions(predictor(), Rules(reorder=2), "run", most, interval())


def one_counted_error(work: Callable[[], object]) -> None:
    """Do it; what is refused is refused under one known reason, in one line."""
    try:
        work()
    except CountedError as refused:
        in_one_line(refused)
        if refused.reason not in REASONS:
            raise AssertionError(f"unknown reason {refused.reason!r}") from refused


def in_one_line(error: StreamRnnError) -> None:
    """It is told in one line, whatever it quotes."""
    if len(log_line("refused", str(error), 0, "text").splitlines()) != 1:
        raise AssertionError(f"expected one line, got {str(error)!r}") from error


def samples(name: WireName) -> Target:
    """Decoded, stepped, answered; read as rows it is the same, or nothing."""
    codec, made = CODECS[name], sessions()
    seeds = [codec.encode_sample(Sample(stream, seq, seq, X)) for stream in ("", "a") for seq in (None, 7)]
    if name == "json":
        seeds += [b"[1, null, 3]", b'[{"timestamp": 1795458454447817, "data": [0, 2, 1]}]', b"[[]]", b"1e999"]
    y = np.array([1, np.nan], np.float32)
    bounds = np.zeros((2, 2), np.float32)
    predictions = [
        codec.encode_prediction(Prediction("a", 1, "s", "m", y, Flag.NAN, bounds=b), 5)
        for b in (None, bounds)
    ]

    def decode(payload: bytes) -> None:
        now = time.monotonic_ns()
        decoded = codec.decode_samples(payload, "a")
        for answer in made.feed(decoded, [0] * len(decoded), now, lambda: 0):
            if isinstance(answer, CountedError):
                one_counted_error(functools.partial(_raise, answer))
                continue
            for prediction in answer:
                codec.decode_prediction(codec.encode_prediction(prediction, 0))

    def rows(payload: bytes) -> None:
        found = ROWS[name].decode([payload] * 3, ["a"] * 3) if name in ROWS else None
        if found is not None:
            one_by_one = codec.decode_samples(payload, "a")[0]
            told = found.samples()[1]
            assert (told.stream, told.seq, told.t_ns) == (one_by_one.stream, one_by_one.seq, one_by_one.t_ns)
            assert told.x.tobytes() == one_by_one.x.tobytes()

    def run(payload: bytes) -> None:
        one_counted_error(functools.partial(decode, payload))
        one_counted_error(functools.partial(rows, payload))
        one_counted_error(functools.partial(codec.decode_prediction, payload))

    return Target(run, seeds + predictions)


def _raise(error: Exception) -> None:
    raise error


def spikes(name: SpikesName) -> Target:
    """Decoded, and counted by a session."""
    codec = SPIKES[name]
    packets = [Spikes("", 0, 5_000_000, [0, 4], [1, 4_999_999]), Spikes("b", 10**18, 10**18 + 1, [], [])]

    def run(payload: bytes) -> None:
        shared = Shared(predictor(), Rules(), "")
        session = Session("a", shared)
        session.bin(packets[0])
        one_counted_error(lambda: session.bin(codec.decode(payload, "a")))
        Session.from_bytes(session.to_bytes(), Shared(predictor(), Rules(), ""))

    return Target(run, [codec.encode(packet) for packet in packets])


def truths(payload: bytes) -> None:
    """Decoded, and learnt from."""
    made = sessions()
    for _ in range(3):
        made.feed([Sample("a", None, None, X)], [0], 0, lambda: 0)

    def learn() -> None:
        truth = decode_truth(payload, "a")
        if len(truth.y) == predictor().outputs:
            made.take_truth(truth.stream, truth.seq, truth.y)

    one_counted_error(learn)


def commands(payload: bytes) -> None:
    """Answered once, in JSON, whatever comes."""
    answers: list[bytes] = []
    verbs = {verb: lambda command: {"stream": command.stream} for verb in VERBS}
    for token in (None, "s3cret"):
        Commands(verbs, token, lambda *_: None).take(payload, lambda _, answer: answers.append(answer))
    assert len(answers) == 2
    for answer in answers:
        assert b"s3cret" not in answer or b"s3cret" in payload
        msgspec.json.decode(answer, type=Answer)


def mqtt(payload: bytes) -> None:
    """Cut anywhere, it says the same; what is no MQTT is the last that is said."""
    for new in (False, True):
        whole = Parser(new=new, max_bytes=MAX_BYTES).feed(payload)
        parser = Parser(new=new, max_bytes=MAX_BYTES)
        middle = len(payload) // 2
        assert parser.feed(payload[:middle]) + parser.feed(payload[middle:]) == whole
        assert not any(isinstance(event, Malformed) for event in whole[:-1])


def mqtt_seeds() -> list[bytes]:
    """What a broker says."""
    found = [b"\x20\x02\0\0", b"\x20\x03\0\0\0", b"\x40\x02\0\1", b"\x90\x03\0\1\0", b"\xd0\0", b"\xe0\1\x8b"]
    for new in (False, True):
        writer = Writer(new=new)
        topic = writer.topic("sensors/a/samples")
        assert topic is not None
        found += [writer.publish(topic, b"[1, 2]", number=number) for number in (0, 5)]
    return [*found, b"\x30\x0f\0\1a\x0a\x26\0\1k\0\1v\x08\0\0"]


def cuts(framing: Framing) -> Target:
    """Cut anywhere, it gives the same payloads and the same error."""

    def cut(pieces: list[bytes]) -> tuple[list[bytes], str]:
        cutter, found = CUTTERS[framing](1000), list[bytes]()
        try:
            for piece in pieces:
                for payload in cutter.feed(piece):
                    found.append(payload)
        except WireError as error:
            return found, str(error)
        return found, ""

    def run(payload: bytes) -> None:
        middle = len(payload) // 3
        assert cut([payload]) == cut([payload[:middle], payload[middle:]])

    return Target(run, [CUTTERS[framing].join([b"[1]", b"", b"x" * 900])])


def greetings(payload: bytes) -> None:
    """A token or none."""
    try:
        check_greeting(payload, "s3cret")
    except WireError as error:
        in_one_line(error)


@functools.cache
def folder() -> Path:
    """Where files are written that are read at once; gone with the process."""
    path = tempfile.mkdtemp(prefix="stream-rnn-decoders-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def of_file(suffix: str, read: Callable[[Path], object], *seeds: bytes) -> Target:
    """A decoder of files: what is bad is one line that names the file."""
    number = itertools.count()
    path = folder() / f"{next(number)}-{suffix.strip('.').replace('.', '-')}{suffix}"

    def run(payload: bytes) -> None:
        path.write_bytes(payload)
        try:
            read(path)
        except (ConfigError, ModelError, RecordingError) as error:
            in_one_line(error)

    return Target(run, list(seeds))


def configs(path: Path) -> Config | None:
    """A config file, and a value of one."""
    text = path.read_bytes().decode(errors="replace")
    parse_value(text)
    return load_config(path, {}, {})


def recording(path: Path) -> None:
    """All that a recording holds."""
    found = McapRecording(path)
    list(found.entries())
    one_counted_error(lambda: [None for _ in samples_of(path)])


def mcap_seed() -> bytes:
    """A short recording."""
    stream = io.BytesIO()
    stream.close, close = lambda: None, stream.close  # type: ignore[method-assign]  # read after it is ended
    writer = McapWriter(stream, {"run": "r"}, b"model")
    writer.write([Entry("samples", "a", 5, 5, 1, b'{"x": [1, 2]}'), Entry("events", "", 6, 6, 0, b"{}")])
    writer.close()
    found = stream.getvalue()
    close()
    return found


def npz_seed() -> bytes:
    """A short table."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream, x=np.ones((3, 2)), rate_hz=50.0, y=np.ones((3, 1)), x_names=np.array(["a", "b"])
    )
    return stream.getvalue()


def states() -> Target:
    """A session's state: taken up, and gone on with."""

    def run(payload: bytes) -> None:
        made = sessions()
        try:
            session = made.restore(payload, 0)
        except StreamRnnError as error:
            in_one_line(error)
            return
        for sample in (Sample(session.stream, None, 1, X), Sample(session.stream, 9, None, X)):
            one_counted_error(functools.partial(made.feed, [sample], [0], 0, lambda: 0))
        one_counted_error(lambda: session.bin(Spikes("a", 5, 10**7, [1], [6])))
        session.to_bytes()
        made.drop(session.stream)

    made = sessions()
    seeds = []
    for seq in (0, 1, 5, 3):
        made.feed([Sample("a", seq, seq, X)], [0], 0, lambda: 0)
        seeds.append(made.get("a", 0).to_bytes())
    made.get("a", 0).bin(Spikes("a", 0, 15_000_000, [1], [2]))
    return Target(run, [*seeds, made.get("a", 0).to_bytes()])


def journals() -> Target:
    """A segment of a journal: read up to where it is not whole."""
    store, chance = folder() / "journal", Journal(folder() / "journal-seed")
    chance.begin()
    for wire in ("json", "frame"):
        chance.append(wire, [("a", "t", 5, b"[1, 2]"), ("b", "", 6, b"")], passing=False)
    (written,) = folder().glob("journal-seed-journal-*")
    seed = written.read_bytes()
    chance.remove()

    def run(payload: bytes) -> None:
        store.with_name(f"journal-journal-{0:020d}").write_bytes(payload)
        journal = Journal(store)
        whole = list(journal.read())
        assert journal.torn in {0, 1}
        assert journal.position >= max((read.first + len(read.entries) for read in whole), default=0)

    return Target(run, [seed])


def store_seed() -> bytes:
    """The about row of a store, which is JSON."""
    return b'{"models":["m"],"mark":3,"highest":4,"round":1}'


def stores(path: Path) -> None:
    """A store with this about row, and a file of these bytes."""
    raw = path.read_bytes()
    for name in ("", "-wal", "-shm", "-lock"):
        path.with_name(f"{path.name}{name}").unlink(missing_ok=True)
    Store(path, "m", 9).close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE about SET value = ?", (raw,))
    for _ in range(2):
        try:
            Store(path, "m", 9).close()
        except StateError as error:
            in_one_line(error)
        path.write_bytes(raw)


def checkpoint_seed() -> bytes:
    """A short one."""
    facts = dict.fromkeys(State._fields, 0) | {"arrays": {"w": np.zeros(3, np.float32)}, "history": []}
    return checkpoint_bytes({"option seed": 1}, State(**facts))  # type: ignore[arg-type]  # as it may be


def targets() -> dict[str, Target]:
    """Every decoder by name."""
    found: dict[str, Target] = {name: samples(name) for name in CODECS}
    found |= {name: spikes(name) for name in SPIKES}
    found |= {f"cut_{framing}": cuts(framing) for framing in CUTTERS}
    found["truth"] = Target(
        truths, [b'{"seq": 1, "y": [1.5, null]}', b'{"seq": 0, "y": [1, 2], "stream": "a"}']
    )
    found["command"] = Target(
        commands, [b'{"verb": "reset", "stream": "a", "id": "x"}', b'{"token": "s3cret"}']
    )
    found["mqtt"] = Target(mqtt, mqtt_seeds())
    found["greeting"] = Target(greetings, [greeting("s3cret"), greeting("other")])
    found["state"] = states()
    found["journal"] = journals()
    found["store"] = of_file(".store", stores, store_seed(), b"SQLite format 3\0")
    config = b'[model]\npath = "m"\n[tcp]\nport = 7\n[stream]\ngap = "zero"\n[mqtt]\nurl = "mqtt://h:1"\n'
    model = model_bytes(small_model())
    found["config"] = of_file(".toml", configs, config)
    found["model"] = of_file(
        ".safetensors", load_model, model, save({"x": np.zeros(2)}, {"format": "stream-rnn"})
    )
    found["checkpoint"] = of_file(".checkpoint", read_checkpoint, checkpoint_seed())
    found["mcap"] = of_file(".mcap", recording, mcap_seed())
    found["npz"] = of_file(".npz", read_table, npz_seed())
    csv = b"time,a,b,y:v,stream,is_test\n0,1,2,3,s,0\n0.1,1,,3,s,1\n"
    found["csv"] = of_file(".csv", read_csv, csv)
    lines = b'{"seq": 0, "t_ns": 1, "x": [1, 2]}\n{"seq": 1, "t_ns": 2, "x": [1, null]}\n'
    text = csv.replace(b"time", b"t_s")
    recorder = b'sensors/a/samples,"[1, 2]",0,False,1.5,0\nsensors/a/samples,"[1, 2]",0,False,1.6,0.1\n'
    found["text"] = of_file(".jsonl", lambda path: list(samples_of(path)), lines, text, recorder)
    return found
