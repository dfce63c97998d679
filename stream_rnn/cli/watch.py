"""`stream-rnn watch`: the predictions of a running daemon, live, or as lines for a pipe."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live

from stream_rnn.cli.board import Board
from stream_rnn.cli.connection import configure_connection, connection
from stream_rnn.cli.view import line, screen
from stream_rnn.transports.base import Message
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.topics import TopicTemplate
from stream_rnn.wire import CODECS, WireName

TRUTH = "sensors/{stream}/truth"
FRAME_S, LINE_S = 0.1, 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    configure_connection(parser)
    parser.add_argument("--stream", help="watch one stream only")
    parser.add_argument(
        "--truth", default=TRUTH, metavar="TOPIC", help=f"where the truth arrives, if it does ({TRUTH})"
    )
    parser.add_argument(
        "--wire", choices=tuple(CODECS), default="json", help="encoding of predictions (json)"
    )
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--json", action="store_true", help="print each prediction as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Watch until Ctrl-C."""
    watcher = Watcher(connection(args), args.topic, args.truth, args.wire, args.stream)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(watcher, args.seconds, as_json=args.json))
    return 0


async def _watch(watcher: "Watcher", seconds: float | None, *, as_json: bool) -> None:
    if as_json:
        watcher.tell = _print_json
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(watcher.serve(), name="watch")
            if not as_json:
                await watcher.ready()
                tasks.create_task(show(watcher.board), name="show")
    except TimeoutError:
        return
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _print_json(payload: bytes, wire: WireName) -> None:
    if wire != "json":
        payload = CODECS["json"].encode_prediction(*CODECS[wire].decode_prediction(payload))
    sys.stdout.buffer.write(payload + b"\n")
    sys.stdout.buffer.flush()


class Watcher:
    """A subscriber of its own, and the board it fills.

    Args:
        settings: How to reach the broker.
        root: First levels of the daemon's topics.
        truth: Template of the truth topics.
        wire: Encoding of predictions.
        only: The one stream to look at, or None for all.
    """

    def __init__(
        self, settings: MqttSettings, root: str, truth: str, wire: WireName, only: str | None = None
    ) -> None:
        self.wire = wire
        self.board = Board(root, CODECS[wire])
        self.tell: Callable[[bytes, WireName], None] | None = None
        self._truth = TopicTemplate(truth)
        self._only = only
        topics = [f"{root}/{name}" for name in ("predictions/#", "metrics", "events", "status", "info")]
        with_retained = {name: getattr(settings, name) for name in settings.__struct_fields__}
        with_retained["accept_retained"] = True  # status and info are
        self._transport = MqttTransport(
            MqttSettings(**with_retained), topics=[*topics, self._truth.filter], fail_fast=True
        )

    async def serve(self) -> None:
        """Fill the board until cancelled.

        Raises:
            TransportError: The broker cannot be reached, or refuses.
        """
        await self._transport.serve(self._deliver)

    async def ready(self) -> None:
        """Return once subscribed."""
        await self._transport.ready()

    def _deliver(self, messages: list[Message]) -> None:
        for message in messages:
            stream = self._truth.key(message.topic)
            if stream is not None:
                if self._only in {None, stream}:
                    self.board.take_truth(stream, message.payload)
                continue
            if self._only is not None and self._is_of_another(message.topic):
                continue
            prediction = self.board.take(message.topic, message.payload, message.t_received_ns)
            if prediction is not None and self.tell is not None:
                self.tell(message.payload, self.wire)

    def _is_of_another(self, topic: str) -> bool:
        prefix = f"{self.board.root}/predictions/"
        return topic.startswith(prefix) and topic != prefix + str(self._only)


async def show(board: Board, *, from_first: bool = False) -> None:
    """Draw the board ten times a second on a terminal, tell it once a second elsewhere, until cancelled.

    Args:
        board: What is shown.
        from_first: Tell nothing before the first prediction.
    """
    console = Console()
    if not console.is_terminal:
        while True:
            await asyncio.sleep(LINE_S)
            if board.streams or not from_first:
                print(line(board, time.time_ns()), flush=True)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(board, time.time_ns(), console.width), refresh=True)
            await asyncio.sleep(FRAME_S)
