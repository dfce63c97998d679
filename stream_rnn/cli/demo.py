"""`stream-rnn demo`: broker, feed, daemon and live view, started and ended by one command."""

import argparse
import asyncio
import contextlib
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console

from stream_rnn.cli.board import Board, percentiles
from stream_rnn.cli.watch import TRUTH, Watcher, show
from stream_rnn.demo import SEED, demo_model
from stream_rnn.errors import ConfigError, RecordingError, StreamRnnError, TransportError
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Model
from stream_rnn.recordings.feed import Fed, Order, Recorded, Simulated, run_feed
from stream_rnn.recordings.table import read_table
from stream_rnn.transports.broker import run_broker
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.wire import CODECS

ROOT = "stream_rnn/demo"
START_S = 120.0  # the first compilation, on a slow machine
DRAIN_S = 2.0  # for the last predictions to arrive


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--seconds", type=float, help="end by itself after so long, with a summary")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="stream the test rows of this recording (.npz) instead"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model that decodes it; needed with --data"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="times real time (1.0)")


def run(args: argparse.Namespace) -> int:
    """Show it; leave no process behind."""
    if (args.data is None) != (args.model is None):
        given, absent = ("--data", "--model") if args.model is None else ("--model", "--data")
        raise ConfigError(f"demo: expected {absent} with {given}, got none")
    if not 0 < args.rate < 1e6:
        raise ConfigError(f"--rate: expected a number above 0, got {args.rate:g}")
    path = args.model or demo_model()
    model = load_model(path)
    source, stream = _source(args.data, model)
    demo = Demo(path, source, stream, model.card.rate_hz * args.rate)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(demo.run(args.seconds))
    summary(demo.board, demo.fed, model, args.data)
    return 0 if demo.fed is None or demo.board.streams else 1


def _source(data: Path | None, model: Model) -> tuple[Simulated | Recorded, str]:
    if data is None:
        units, rate_hz = len(model.card.inputs), model.card.rate_hz
        return Simulated(units, rate_hz, SEED, day=1), "simulated"
    recording = read_table(data)
    expected, got = len(model.card.inputs), recording.x.shape[1]
    if expected != got:
        raise RecordingError(
            f"recording {data}: expected {expected} features for model {model.hash}, got {got}"
        )
    if not recording.is_test.any():
        raise RecordingError(f"recording {data}: expected test rows to stream, got none")
    return Recorded(data), recording.name


class Demo:
    """The four parts, and what they did.

    Args:
        model: Model file.
        source: Where samples come from.
        stream: What to call the stream.
        rate_hz: Samples a second.
    """

    def __init__(self, model: Path, source: Simulated | Recorded, stream: str, rate_hz: float) -> None:
        self.board = Board(ROOT, CODECS["json"])
        self.fed: Fed | None = None
        self._model, self._source, self._stream, self._rate_hz = model, source, stream, rate_hz
        self._console = Console(stderr=True)

    async def run(self, seconds: float | None) -> None:
        """Start everything, watch, end everything.

        Raises:
            StreamRnnError: A part could not start, or died.
        """
        async with _broker() as port:
            url = f"mqtt://127.0.0.1:{port}"
            watcher = Watcher(MqttSettings(url=url), ROOT, TRUTH, "json")
            self.board = watcher.board
            self._say("compiling the step (a few seconds the first time)")
            async with _daemon(self._model, url) as died:
                self._say(f"decoding {self._stream} at {self._rate_hz:g} samples a second; Ctrl-C ends")
                order = Order(self._source, self._stream, self._rate_hz, url)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        serving = tasks.create_task(watcher.serve(), name="watch")
                        await watcher.ready()
                        showing = tasks.create_task(show(self.board, from_first=True), name="show")
                        dying = tasks.create_task(_raise_when(died), name="daemon")
                        self.fed = await _feed(order, seconds)
                        await self._drain()
                        for task in (serving, showing, dying):
                            task.cancel()
                except BaseExceptionGroup as group:
                    raise group.exceptions[0] from None

    async def _drain(self) -> None:
        """Wait until every sample is answered, but not for ever."""
        deadline = time.monotonic() + DRAIN_S
        while self.fed is not None and time.monotonic() < deadline:
            stream = self.board.streams.get(self._stream)
            if stream is not None and stream.count >= self.fed.sent:
                return
            await asyncio.sleep(0.02)

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]demo[/] {text}", highlight=False)


@contextlib.asynccontextmanager
async def _broker() -> AsyncIterator[int]:
    process, pipe = _start(run_broker, 0)
    try:
        port = await asyncio.to_thread(_receive, pipe, "broker")
        assert isinstance(port, int)
        yield port
    finally:
        pipe.close()
        await asyncio.to_thread(_end, process)


@contextlib.asynccontextmanager
async def _daemon(model: Path, url: str) -> AsyncIterator["asyncio.Future[str]"]:
    """The daemon as its users start it. The future gets its last words, should it die."""
    command = ["-m", "stream_rnn", "run", "--model", str(model), "--broker", url, "--set", "daemon.node=demo"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=pipe, start_new_session=True
    )
    ready, died = asyncio.Event(), asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process, ready, died), name="daemon-stderr")
    waiting = asyncio.create_task(ready.wait(), name="daemon-ready")
    try:
        await asyncio.wait({waiting, died}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            raise TransportError(f"daemon: expected it to start, got: {died.result()}")
        if not ready.is_set():
            raise TransportError(f"daemon: expected it to be ready within {START_S:g} s")
        yield died
    finally:
        waiting.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


async def _read(
    process: asyncio.subprocess.Process, ready: asyncio.Event, died: "asyncio.Future[str]"
) -> None:
    assert process.stderr is not None
    last = ""
    async for raw in process.stderr:
        last = raw.decode(errors="replace").strip()
        if " ready " in last:
            ready.set()
    if not died.done():
        died.set_result(last)


async def _raise_when(died: "asyncio.Future[str]") -> None:
    raise TransportError(f"daemon: expected it to go on, got its end: {await died}")


async def _feed(order: Order, seconds: float | None) -> Fed:
    """Feed until the source ends, or for so long."""
    process, pipe = _start(run_feed, order)
    receiving = asyncio.create_task(asyncio.to_thread(_receive, pipe, "feed"), name="feed")
    try:
        done, _ = await asyncio.wait({receiving}, timeout=seconds)
        if not done:
            pipe.send("stop")
        fed = await receiving
        assert isinstance(fed, Fed)
        return fed
    finally:
        with contextlib.suppress(OSError):
            pipe.send("stop")  # wakes the thread that receives, too
        await asyncio.to_thread(_end, process)
        pipe.close()


def _start(target: object, argument: object) -> tuple[BaseProcess, Connection]:
    """A process of its own, and our end of the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(argument, theirs), daemon=True)  # type: ignore[arg-type]
    process.start()
    theirs.close()
    return process, ours


def _receive(pipe: Connection, name: str) -> object:
    """What a part says: an error is raised here.

    Raises:
        StreamRnnError: It said an error, or it is gone.
    """
    try:
        said: object = pipe.recv()
    except (EOFError, OSError):
        raise TransportError(f"{name}: expected it to go on, got its end") from None
    if isinstance(said, str):
        raise StreamRnnError(said)
    return said


def _end(process: BaseProcess) -> None:
    process.join(3)
    if process.is_alive():
        process.kill()
        process.join()


def summary(board: Board, fed: Fed | None, model: Model, data: Path | None) -> None:
    """What happened, and what to do next."""
    console = Console(highlight=False, soft_wrap=True)
    for name, stream in board.busiest(1):
        sent = f"{stream.count} of {fed.sent}" if fed is not None else str(stream.count)
        console.print(
            f"\n[bold]{name}[/]: {sent} samples decoded by model {model.hash} ({model.card.architecture})"
        )
        scores = [
            f"{output.name} {value:.3f}"
            for output, value in zip(model.card.outputs, stream.r2.value(), strict=False)
            if value is not None
        ]
        if scores:
            console.print(f"  R2 against the truth: {', '.join(scores)}")
        for what, values in (
            ("in the daemon", stream.in_process_us),
            ("sample due to prediction here", stream.end_to_end_us),
        ):
            p50, p99 = percentiles(values, 50, 99)
            if p50 is not None:
                console.print(f"  latency {what}: p50 {p50:.0f} us, p99 {p99:.0f} us")
        if fed is not None:
            console.print(
                f"  feed: 99 in 100 samples left within {fed.late_p99_ms:.1f} ms of when they were due"
            )
    if data is None:
        console.print(
            "\nnext: [bold]stream-rnn train RECORDING.npz -o model.safetensors[/] on a recording of yours,"
        )
        console.print(
            "      [bold]stream-rnn run --model model.safetensors --broker mqtt://HOST[/] to serve it"
        )
