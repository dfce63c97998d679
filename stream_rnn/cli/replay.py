"""`stream-rnn replay`: send a recording again, or prove that it still gives the same predictions."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.model.file import load_model
from stream_rnn.recordings.direct import predictions_of
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.recordings.proof import TOLERANCE, Proof, prove
from stream_rnn.recordings.replay import Playback, Played, Send, play, rounds
from stream_rnn.recordings.source import samples_of
from stream_rnn.sample import Sample
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.wire import CODECS

JSON = CODECS["json"]
TOPIC = "sensors/{stream}/samples"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "file", type=Path, help="recording: .mcap, table .npz, CSV, JSON lines, or mqtt-recorder's CSV"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--to", metavar="URL", help="mqtt://host:port, mqtts://host:port, or tcp://host:port (JSON lines)"
    )
    what.add_argument(
        "--verify", action="store_true", help="replay an .mcap through the model inside it and compare"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="--verify: the model, where the recording holds none"
    )
    parser.add_argument("--topic", default=TOPIC, help=f"where samples go over MQTT ({TOPIC})")
    parser.add_argument(
        "--wire", choices=tuple(CODECS), default="json", help="encoding of mqtt-recorder's payloads (json)"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="times the recorded speed (1.0)")
    parser.add_argument("--asap", action="store_true", help="as fast as they are taken")
    parser.add_argument("--loop", action="store_true", help="over and over, until Ctrl-C")
    parser.add_argument("--start-offset", type=float, default=0.0, metavar="S", help="skip so many seconds")
    parser.add_argument("--playback-duration", type=float, metavar="S", help="play so many seconds")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="wait before the first sample")
    parser.add_argument("--topics", nargs="+", default=(), metavar="STREAM", help="play these streams only")
    parser.add_argument("--remap", nargs="+", default=(), metavar="OLD:=NEW", help="rename streams")
    parser.add_argument(
        "--retime",
        choices=("now", "keep"),
        default="now",
        help="samples carry the time they are sent, or their own (now)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    """Replay or prove."""
    if args.verify:
        return verify(args.file, args.model, as_json=args.json)
    if args.to == "direct":
        return _direct(args.file, args.start_offset)
    playback = _playback(args)
    next(
        rounds(lambda: samples_of(args.file, args.topic, args.wire), playback), None
    )  # a file that cannot be read is told at once
    played = asyncio.run(_replay(args, playback))
    if args.json:
        print(msgspec.json.encode(played).decode())
    else:
        Console(highlight=False, soft_wrap=True).print(told(played, playback))
    return 1 if played.refused else 0


def _direct(file: Path, start_offset_s: float) -> int:
    for prediction in predictions_of(McapRecording(file), start_offset_s):
        sys.stdout.buffer.write(JSON.encode_prediction(prediction, prediction.t_stepped_ns) + b"\n")
    sys.stdout.buffer.flush()
    return 0


def told(played: Played, playback: Playback) -> str:
    """What a replay did, for people."""
    rate = played.sent / played.seconds if played.seconds else 0.0
    text = f"{played.sent} samples in {played.seconds:.1f} s, {rate:.0f} a second"
    if played.refused:
        text += f", {played.refused} not taken"
    if not playback.asap:
        p50, p99, most = played.late_p50_ms, played.late_p99_ms, played.late_max_ms
        text += f"; late p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms"
    return text


def verify(file: Path, model: Path | None, *, as_json: bool) -> int:
    """Prove a recording: exit code 0, or 1 and the first difference."""
    proof = prove(McapRecording(file), None if model is None else load_model(model))
    if as_json:
        print(msgspec.json.encode(proof._asdict()).decode())
    else:
        Console(highlight=False, soft_wrap=True).print("\n".join(_lines(file, proof)))
    return 0 if proof.difference is None else 1


def _lines(file: Path, proof: Proof) -> list[str]:
    lines = []
    if not proof.exact:
        lines.append(
            f"{file}: recorded elsewhere ({proof.reason}): compared within {TOLERANCE:g}, not bit for bit"
        )
    if not proof.whole:
        lines.append(f"{file}: not closed properly; replayed as far as it goes")
    if proof.skipped:
        lines.append(
            f"{file}: {proof.skipped} predictions left out: their streams were under way before it began"
        )
    if proof.difference is not None:
        stream, seq, what, state = proof.difference
        lines.append(f"{file}: stream {stream!r}, seq {seq}: {what}; {state}")
    how = "equal bit for bit" if proof.exact else f"within {TOLERANCE:g}"
    end = how if proof.difference is None else "then different"
    lines.append(f"{file}: {proof.samples} samples replayed, {proof.compared} predictions compared, {end}")
    return lines


def _playback(args: argparse.Namespace) -> Playback:
    values: dict[str, Any] = {
        "rate": args.rate,
        "asap": args.asap,
        "loop": args.loop,
        "start_offset_s": args.start_offset,
        "duration_s": args.playback_duration,
        "delay_s": args.delay,
        "topics": tuple(args.topics),
        "remap": {},
        "retime": args.retime,
    }
    for pair in args.remap:
        old, found, new = pair.partition(":=")
        if not (found and old and new):
            raise ConfigError(f"--remap: expected OLD:=NEW, got {pair!r}")
        values["remap"][old] = new
    try:
        return msgspec.convert(values, Playback)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise ConfigError(f"replay: {where.rstrip('`')}: {message[0].lower()}{message[1:]}") from None


async def _replay(args: argparse.Namespace, playback: Playback) -> Played:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    scheme = urlsplit(args.to).scheme
    opening = _tcp(args.to) if scheme == "tcp" else _mqtt(args.to, args.topic)
    async with opening as (send, drain):
        played = await play(
            rounds(lambda: samples_of(args.file, args.topic, args.wire), playback), playback, send, ended
        )
        await drain()
    return played


Drain = Callable[[], Any]


@contextlib.asynccontextmanager
async def _mqtt(url: str, topic: str) -> AsyncIterator[tuple[Send, Drain]]:
    settings = MqttSettings(url=url, max_outgoing=1_000_000, password=None)
    username = os.environ.get("STREAM_RNN_MQTT__USERNAME")
    if username is not None:
        password = os.environ.get("STREAM_RNN_MQTT__PASSWORD")
        settings = MqttSettings(url=url, max_outgoing=1_000_000, username=username, password=password)
    transport = MqttTransport(settings, topics=[], fail_fast=True)
    serving = asyncio.create_task(transport.serve(lambda _: None), name="serve")
    ready = asyncio.create_task(transport.ready(), name="ready")
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        await serving

    def send(sample: Sample) -> bool:
        bare = Sample("", sample.seq, sample.t_ns, sample.x)
        return transport.publish(topic.replace("{stream}", sample.stream), JSON.encode_sample(bare), qos=0)

    async def drain() -> None:
        await asyncio.sleep(0)

    try:
        yield send, drain
    finally:
        serving.cancel()  # it sends what is left before it goes
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@contextlib.asynccontextmanager
async def _tcp(url: str) -> AsyncIterator[tuple[Send, Drain]]:
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError as error:
        raise TransportError(f"{url}: {error.strerror or error}") from None
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answered = asyncio.create_task(_count_lines(reader), name="answers")
    sent = 0

    def send(sample: Sample) -> bool:
        nonlocal sent
        if writer.is_closing():
            return False
        writer.write(JSON.encode_sample(sample) + b"\n")
        sent += 1
        return True

    async def drain() -> None:
        await writer.drain()
        writer.write_eof()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answered, 5)

    try:
        yield send, drain
    finally:
        answered.cancel()
        writer.close()


async def _count_lines(reader: asyncio.StreamReader) -> int:
    """Read answers so that the daemon is never held up by us."""
    count = 0
    while data := await reader.read(1 << 16):
        count += data.count(b"\n")
    return count
