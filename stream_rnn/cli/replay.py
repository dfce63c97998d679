"""`stream-rnn replay`: send a recording again, or prove that it still gives the same predictions."""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from stream_rnn.cli.keyboard import ARROW_RIGHT, keys
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import load_model
from stream_rnn.recordings.direct import predictions_of
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.recordings.pacing import Pace
from stream_rnn.recordings.proof import TOLERANCE, Proof, prove
from stream_rnn.recordings.replay import Playback, Played, play, rounds
from stream_rnn.recordings.sinks import sink_of
from stream_rnn.recordings.source import samples_of
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
        "--to",
        metavar="URL",
        help="mqtt(s)://host:port, tcp:// or udp://host:port, unix:///path, unixgram:///path, or direct",
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
    parser.add_argument("--start-paused", action="store_true", help="wait for the keyboard")
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
        "start_paused": args.start_paused,
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
    async with sink_of(args.to, args.topic) as (send, drain):
        samples = rounds(lambda: samples_of(args.file, args.topic, args.wire), playback)
        with contextlib.ExitStack() as terminal:
            controls = partial(_controls, terminal, ended)
            played = await play(samples, playback, send, ended, controls)
        await drain()
    return played


def _controls(terminal: contextlib.ExitStack, ended: asyncio.Event, pace: Pace) -> None:
    """Let the keyboard pause, step, speed up and quit; say after each key where the replay is."""

    def then_tell(action: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            action()
            now_ns = time.monotonic_ns()
            state = "paused" if pace.paused else "playing"
            print(
                f"{state} at {pace.position_s(now_ns):.3f} s, rate {pace.rate:g}", file=sys.stderr, flush=True
            )

        return act

    step = then_tell(pace.step)
    actions = {
        " ": then_tell(lambda: pace.toggle(time.monotonic_ns())),
        ".": step,
        ARROW_RIGHT: step,
        "+": then_tell(lambda: pace.speed(2.0, time.monotonic_ns())),
        "-": then_tell(lambda: pace.speed(0.5, time.monotonic_ns())),
        "q": ended.set,
    }
    if terminal.enter_context(keys(actions)):
        print("space pauses, . steps, + and - change the speed, q quits", file=sys.stderr, flush=True)
