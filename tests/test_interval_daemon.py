"""Intervals of a running daemon: what goes out, what the truth changes, and nothing without them."""

import asyncio
import functools
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.config.load import Settings, load_config
from stream_rnn.config.sections import Config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.daemon.sources import Source
from stream_rnn.errors import ModelError
from stream_rnn.interval import Interval
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.recordings.proof import prove
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import read_table, write_table
from stream_rnn.sample import F32, Prediction, Sample
from stream_rnn.training.evaluate import Decoded, decode
from stream_rnn.training.fit import fit
from stream_rnn.training.interval import bounds_of, measure
from stream_rnn.training.options import Options
from stream_rnn.transports.base import Message
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.wire import CODECS, WireName
from tests.broker import free_port, needs_mosquitto, running_mosquitto
from tests.serving import serving_in_memory
from tests.small import calibrated, running_daemon, saved_model, small_model

MODEL = calibrated(small_model())
XS: F32 = np.random.default_rng(2).poisson(2, (40, 5)).astype(np.float32)
TRUTH: F32 = np.random.default_rng(3).normal(0, 1, (40, 2)).astype(np.float32)
TOPIC = "sensors/{stream}/truth"
TOLD = {"coverage": 0.8, "truth": TOPIC}
serving = functools.partial(serving_in_memory, MODEL)


def samples(wire: WireName, first: int, end: int) -> list[bytes]:
    return [CODECS[wire].encode_sample(Sample("", i, None, XS[i])) for i in range(first, end)]


def tell(transport: MemoryTransport, seq: int, *ys: float, stream: str = "a") -> None:
    payload = json.dumps({"seq": seq, "y": ys}).encode()
    transport.feed("whatever the transport thinks", payload, topic=TOPIC.replace("{stream}", stream))


def predictions(transport: MemoryTransport, wire: WireName) -> list[Prediction]:
    said = (payload for topic, payload in transport.published if "/predictions/" in topic)
    return [CODECS[wire].decode_prediction(payload)[0] for payload in said]


def expected(delay: int) -> list[bytes]:
    decoded = Decoded(np.arange(40), Predictor(MODEL).run(XS), TRUTH)
    return [b.tobytes() for b in bounds_of(decoded, Interval(MODEL.calibration(), 0.8), delay)]


def bounds(got: list[Prediction]) -> list[bytes]:
    return [b"" if p.bounds is None else p.bounds.tobytes() for p in got]


@pytest.mark.parametrize("wire", ["json", "msgpack", "frame"])
@pytest.mark.parametrize("together", [1, 10])
async def test_predictions_carry_the_intervals_of_the_model(wire: WireName, together: int) -> None:
    async with serving(wire, interval={"coverage": 0.8}) as (_, transport):
        for first in range(0, 40, together):
            transport.feed("a", *samples(wire, first, first + together))
        assert bounds(predictions(transport, wire)) == expected(delay=100)


@pytest.mark.parametrize("wire", ["json", "msgpack", "frame"])
async def test_truth_moves_intervals_as_offline_bit_for_bit(wire: WireName) -> None:
    async with serving(wire, interval=TOLD) as (daemon, transport):
        for i in range(40):
            if i >= 3:
                tell(transport, i - 3, *TRUTH[i - 3].tolist())
            transport.feed("a", *samples(wire, i, i + 1))
        assert bounds(predictions(transport, wire)) == expected(delay=3)
        told = daemon.status()["interval"]
    assert told["truths"] == {"taken": 37, "unmatched": 0, "refused": 0}
    assert sum(told["outputs"].values()) == 74
    assert told["measured"] == pytest.approx(told["outputs"]["inside"] / 74, abs=1e-4)


async def test_truth_among_the_samples_of_one_read_keeps_its_place() -> None:
    reads = []
    for i in range(40):
        if i >= 3:
            reads.append(
                (TOPIC.replace("{stream}", "a"), json.dumps({"seq": i - 3, "y": TRUTH[i - 3].tolist()}))
            )
        reads.append(("sensors/a/samples", json.dumps({"seq": i, "x": XS[i].tolist()})))
    async with serving("json", interval=TOLD) as (_, transport):
        delivered = transport._deliver
        assert delivered is not None
        messages: list[Any] = []
        transport._deliver = messages.extend
        for topic, payload in reads:
            transport.feed("a", payload.encode(), topic=topic)
        delivered(messages)
        assert bounds(predictions(transport, "json")) == expected(delay=3)


async def test_truth_that_cannot_be_used_is_counted_and_changes_nothing() -> None:
    async with serving("json", interval=TOLD) as (daemon, transport):
        transport.feed("a", *samples("json", 0, 5))
        tell(transport, 99, 1.0, 1.0)
        tell(transport, 1, 1.0)
        tell(transport, 1, 1.0, 1.0, stream="unknown")
        transport.feed("a", b"{", topic="sensors/a/truth")
        transport.feed("a", *samples("json", 5, 40))
        assert bounds(predictions(transport, "json")) == expected(delay=100)
        assert daemon.status()["interval"]["truths"] == {"taken": 0, "unmatched": 2, "refused": 2}
        assert daemon.pipeline.refused == {}
        events = [msgspec.json.decode(p) for t, p in transport.published if t.endswith("/events")]
    assert [e["detail"] for e in events if e["kind"] == "refused_truth"] == [
        "truth of 'a': expected 2 outputs, got 1",
        "truth of 'a': expected JSON: Input data was truncated",
    ]


async def test_without_the_section_nothing_is_said_of_intervals() -> None:
    async with serving() as (daemon, transport):
        transport.feed("a", *samples("json", 0, 2))
        said = {topic.removeprefix("stream_rnn/decoder/"): payload for topic, payload in transport.published}
        assert daemon.status()["interval"] == {}
    assert "interval" not in msgspec.json.decode(said["info"])
    assert {"y_low", "y_high"}.isdisjoint(msgspec.json.decode(said["predictions/a"]))


async def test_reload_begins_and_ends_intervals_while_streams_go_on() -> None:
    def config(**more: object) -> Config:
        return load_config(None, {}, {"model": {"path": "m"}, "tcp": {"port": 0}, **more})  # type: ignore[dict-item]

    configs = [config(interval={"coverage": 0.8}), config(interval={"coverage": 0.5}), config()]
    predictor = Predictor(MODEL)
    daemon = Daemon(config(), predictor, lambda *_: None, lambda: (configs.pop(0), predictor))
    transport = MemoryTransport()
    daemon.add("memory", Source(transport, "json", transport))
    task = asyncio.create_task(daemon.run(), name="daemon")
    await transport.ready()
    for first in (0, 10, 20, 30):
        transport.feed("a", *samples("json", first, first + 10))
        if configs:
            await daemon.reload()
    daemon.stop()
    await task
    got = predictions(transport, "json")
    np.testing.assert_array_equal(np.array([p.y for p in got]), Predictor(MODEL).run(XS))
    widths = [0.0 if p.bounds is None else float(p.bounds[1, 0] - p.bounds[0, 0]) for p in got]
    at = [Interval(MODEL.calibration(), coverage).margins[:, 0] for coverage in (0.8, 0.5)]
    expected = [0.0, *(float(high - low) for low, high in at), 0.0]
    assert widths == pytest.approx([width for width in expected for _ in range(10)], abs=1e-6)


async def test_birth_tells_the_coverage() -> None:
    async with serving("json", interval=TOLD) as (_, transport):
        info = msgspec.json.decode(transport.retained["stream_rnn/decoder/info"])
    assert info["interval"] == {"coverage": 0.8, "truth": TOPIC}


async def test_recording_keeps_intervals_and_still_proves_itself(tmp_path: Path) -> None:
    path = tmp_path / "r.mcap"
    recording = {"path": str(path), "states_every": 5}
    async with serving("json", interval=TOLD, recording=recording) as (_, transport):
        for i in range(40):
            transport.feed("a", *samples("json", i, i + 1))
            tell(transport, i, *TRUTH[i].tolist())
    entries = [e for e in McapRecording(path).entries() if e.kind == "predictions"]
    recorded = [CODECS["json"].decode_prediction(e.payload)[0] for e in entries]
    assert bounds(recorded) == expected(delay=1)
    proof = prove(McapRecording(path))
    assert (proof.compared, proof.difference) == (40, None)


async def test_model_that_was_never_calibrated_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = saved_model(tmp_path, small_model())
    message = (
        f"model {small_model().hash}: expected residuals to make intervals from, got none; train it again"
    )
    config = load_config(None, {}, {"model": {"path": "m"}, "mqtt": {}, "interval": {"coverage": 0.9}})
    with pytest.raises(ModelError, match=f"^{message}$"):
        Daemon(config, Predictor(small_model()), lambda *_: None)
    assert main(["run", "--model", str(bare), "--stdio", "--set", "interval.coverage=0.9", "--check"]) == 1
    assert f"stream-rnn: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("framing", ["lines", "frames"])
def test_tcp_client_gets_intervals(tmp_path: Path, framing: str) -> None:
    wire: WireName = "json" if framing == "lines" else "frame"
    model, port = saved_model(tmp_path, MODEL), free_port()
    options = ("--listen", f"127.0.0.1:{port}", "--set", f"tcp.framing={framing}")
    with (
        running_daemon("--model", str(model), *options, "--set", "interval.coverage=0.8"),
        socket.create_connection(("127.0.0.1", port)) as client,
        client.makefile("rwb") as file,
    ):
        for payload in samples(wire, 0, 40):
            file.write(payload + b"\n" if wire == "json" else len(payload).to_bytes(4, "little") + payload)
        file.flush()
        answers = []
        for _ in range(40):
            line = file.readline() if wire == "json" else file.read(int.from_bytes(file.read(4), "little"))
            answers.append(CODECS[wire].decode_prediction(line)[0])
    assert bounds(answers) == expected(delay=100)


def test_fitted_model_covers_its_test_rows_about_as_often_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cortex = simulate(120, 24, seed=3)
    model = fit([cortex], Options(seed=5, units=16, epochs=8, dropout=0.2), lambda _: None).model
    path, table, out = saved_model(tmp_path, model), tmp_path / "c.npz", tmp_path / "p.npz"
    write_table(cortex, table)
    command = ["evaluate", str(path), str(table), "--coverage", "0.9", "--json", "--predictions", str(out)]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)["intervals"]
    assert (told["nominal"], told["delay"]) == (0.9, 1)
    for name in cortex.y_names:
        assert abs(told["fixed"][name]["coverage"] - 0.9) < 0.06
        assert abs(told["adapted"][name]["coverage"] - 0.9) <= 0.02
    arrays = np.load(out)
    inside = (arrays["y_low"] <= arrays["truth"]) & (arrays["truth"] <= arrays["y_high"])
    assert inside.mean(axis=0).tolist() == pytest.approx(
        [told["adapted"][n]["coverage"] for n in cortex.y_names]
    )
    assert main([*command[:-3], "--delay", "5"]) == 0
    assert "the truth 5 samples later" in " ".join(capsys.readouterr().out.split())


@pytest.mark.mosquitto
@needs_mosquitto
@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
async def test_truth_over_a_broker_moves_intervals(tmp_path: Path, client: str) -> None:
    with running_mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        flags: Settings = {"model": {"path": "m"}, "mqtt": {"url": url, "client": client}, "interval": TOLD}
        daemon = Daemon(load_config(None, {}, flags), Predictor(MODEL), lambda *_: None)
        daemon.open_configured()
        peer = MqttTransport(MqttSettings(url=url), topics=["stream_rnn/decoder/predictions/a"])
        came: asyncio.Queue[bytes] = asyncio.Queue()

        def deliver(messages: list[Message]) -> None:
            for message in messages:
                came.put_nowait(message.payload)

        serving = [
            asyncio.create_task(daemon.run(), name="daemon"),
            asyncio.create_task(peer.serve(deliver), name="peer"),
        ]
        await daemon.sources["mqtt"].transport.ready()
        await peer.ready()
        got = []
        for i, payload in enumerate(samples("json", 0, 40)):
            if i >= 3:
                truth = msgspec.json.encode({"seq": i - 3, "y": TRUTH[i - 3].tolist()})
                peer.publish("sensors/a/truth", truth)
            peer.publish("sensors/a/samples", payload)
            got.append(CODECS["json"].decode_prediction(await asyncio.wait_for(came.get(), 10))[0])
        daemon.stop()
        serving[1].cancel()
        await asyncio.gather(*serving, return_exceptions=True)
    assert bounds(got) == expected(delay=3)


@pytest.mark.data
@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("name", ["indy_20160927_04", "lower_limb_emg_50hz"])
def test_adapted_coverage_is_within_two_points_on_the_real_recordings(
    fitted_briefly: Callable[[str], tuple[Predictor, Decoded]], name: str, coverage: float
) -> None:
    predictor, decoded = fitted_briefly(name)
    how = Interval(predictor.model.calibration(), coverage)
    names = tuple(output.name for output in predictor.model.card.outputs)
    for delay in (1, 10):
        measured = measure(decoded, how, bounds_of(decoded, how, delay), delay, names)
        for output in names:
            assert abs((measured.adapted[output].coverage or 0) - coverage) <= 0.02


@pytest.fixture(scope="module")
def fitted_briefly(shared_data: Path) -> Callable[[str], tuple[Predictor, Decoded]]:
    """A model of a recording after two epochs, and its test rows decoded; once each."""

    @functools.cache
    def fitted(name: str) -> tuple[Predictor, Decoded]:
        recording = read_table(shared_data / f"{name}.npz")
        options = Options(seed=1, layers=1, units=16, epochs=2, bin_ms=100.0)
        predictor = Predictor(fit([recording], options, lambda _: None).model)
        return predictor, decode(predictor, recording, "test")

    return fitted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coverage", "1.5"], "--coverage: expected a share between 0 and 1, got 1.5"),
        (["--coverage", "0.9", "--pace", "0"], "--pace: expected more than 0 and at most 1, got 0.0"),
        (["--coverage", "0.9", "--delay", "0"], "--delay: expected at least 1 sample, got 0"),
    ],
)
def test_option_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    model = saved_model(tmp_path, MODEL)
    assert main(["evaluate", str(model), str(tmp_path / "absent.npz"), *options]) == 2
    assert capsys.readouterr().err == f"stream-rnn: {message}\n"
