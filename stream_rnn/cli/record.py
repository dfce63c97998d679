"""`stream-rnn record`: what a running daemon gets and says, into an MCAP file."""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stream_rnn.cli.connection import configure_connection, connection
from stream_rnn.errors import ConfigError
from stream_rnn.recordings.subscriber import Subscriber, birth_of

BIRTH_S = 5.0
FRAME_S = 0.25


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "file",
        help="file to write, which must not exist; strftime's codes (%%Y%%m%%d-%%H%%M%%S) stand for now",
    )
    configure_connection(parser)
    parser.add_argument(
        "--samples", metavar="TOPIC", help="where samples arrive, as sensors/{stream}/samples (the daemon's)"
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="the daemon's model, kept inside: the recording proves itself",
    )
    parser.add_argument(
        "--flush",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between two writes: what a kill loses (1.0)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="end after so long")


def run(args: argparse.Namespace) -> int:
    """Record until Ctrl-C, SIGTERM, or so many seconds."""
    if args.flush < 0.01:
        raise ConfigError(f"--flush: expected at least 0.01 s, got {args.flush:g}")
    began = time.monotonic()
    subscriber = asyncio.run(_record(args))
    if subscriber.refused:
        print(f"stream-rnn: {subscriber.refused} payloads could not be read", file=sys.stderr)
    if subscriber.dropped:
        print(f"stream-rnn: {subscriber.dropped} entries could not be written", file=sys.stderr)
    print(f"{told(subscriber)} in {time.monotonic() - began:.1f} s")
    return 1 if subscriber.dropped else 0


async def _record(args: argparse.Namespace) -> Subscriber:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    asking = connection(args, accept_retained=True)
    birth = await birth_of(asking, args.topic, BIRTH_S)
    if "mqtt" not in birth.sources and args.samples is None:
        raise ConfigError(f"{args.topic}: expected a daemon that takes samples over MQTT, got another")
    topic = args.samples or birth.sources["mqtt"].topic
    subscriber = Subscriber(
        connection(args, topic=topic, qos=1),
        args.topic,
        birth,
        args.file,
        model=args.model,
        flush_s=args.flush,
        report=_say,
    )
    serving = asyncio.create_task(subscriber.serve(), name="record")
    showing = asyncio.create_task(_show(subscriber), name="show")
    stop = asyncio.create_task(ended.wait(), name="stop")
    try:
        await asyncio.wait({serving, stop}, timeout=args.seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (showing, stop, serving):
            task.cancel()
        await asyncio.gather(showing, stop, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    return subscriber


def told(subscriber: Subscriber) -> str:
    """What has been recorded."""
    s = subscriber
    return f"{s.recorder.path}: {s.samples} samples, {s.predictions} predictions, {s.events} events"


async def _show(subscriber: Subscriber) -> None:
    """Keep a line up to date on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            live.update(Text(told(subscriber)), refresh=True)
            await asyncio.sleep(FRAME_S)


def _say(kind: str, detail: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {kind:<12} {detail}", file=sys.stderr, flush=True)
