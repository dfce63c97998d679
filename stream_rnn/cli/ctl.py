"""`stream-rnn ctl`: tell a running daemon what to do."""

import argparse
import asyncio
import base64
import contextlib
import os
import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table

from stream_rnn.cli.connection import configure_connection, connection
from stream_rnn.daemon.commands import VERBS, Answer, Command
from stream_rnn.errors import CommandError, ConfigError, TransportError
from stream_rnn.latency.hgrm import hgrm
from stream_rnn.latency.histogram import Counted, Histogram
from stream_rnn.transports.base import Message
from stream_rnn.transports.mqtt import MqttTransport

MAX_ANSWER = 1 << 26  # bytes; the state of the largest network fits


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("verb", choices=tuple(VERBS), help="; ".join(f"{v}: {w}" for v, w in VERBS.items()))
    parser.add_argument("file", nargs="?", type=Path, help="restore: what `snapshot -o` wrote")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stream", metavar="KEY", help="the stream it is about")
    which.add_argument("--all", action="store_true", help="it is about every stream")
    parser.add_argument("--force", action="store_true", help="reload: also a model of another architecture")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="snapshot: write the state here")
    parser.add_argument(
        "--hgrm",
        type=Path,
        metavar="FOLDER",
        help="latency: write each histogram for HdrHistogram's plotters",
    )
    configure_connection(parser)
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="the daemon's command socket, instead of a broker"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="the secret of [commands], else STREAM_RNN_COMMANDS__TOKEN",
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="wait so long for the answer (10)"
    )
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Send one command and show the answer."""
    command = _command(args)
    asking = _ask_socket(args.socket, command) if args.socket is not None else _ask_broker(args, command)
    try:
        answer = asyncio.run(_within(args.timeout, asking))
    except TimeoutError:
        whom = args.socket if args.socket is not None else f"{args.topic} at {args.broker}"
        doubt = "is this daemon running"
        if args.socket is None:
            doubt += ", with commands.mqtt = true in its config, and may we publish there"
        raise CommandError(
            f"{whom}: expected an answer within {args.timeout:g} s, got none: {doubt}?"
        ) from None
    if not answer.ok:
        raise CommandError(str(answer.error))
    if args.out is not None and args.verb == "snapshot":
        args.out.write_bytes(base64.b64decode(answer.result["state"]))
    if args.hgrm is not None and args.verb == "latency":
        _write_histograms(args.hgrm, answer.result)
    if args.json:
        print(msgspec.json.encode(answer.result).decode())
    else:
        Console(highlight=False, soft_wrap=True).print(_told(args.verb, answer.result))
    return 0


def _command(args: argparse.Namespace) -> Command:
    token = os.environ.get("STREAM_RNN_COMMANDS__TOKEN")
    if args.token_file is not None:
        lines = _read(args.token_file, "--token-file").decode(errors="replace").splitlines()
        token = lines[0] if lines else ""
    state = None
    if args.verb == "restore":
        if args.file is None:
            raise ConfigError("restore: expected the file that snapshot wrote, got none")
        state = base64.b64encode(_read(args.file, "restore")).decode()
    return Command(
        verb=args.verb,
        id=secrets.token_hex(8),
        token=token,
        stream=args.stream,
        all=args.all,
        force=args.force,
        state=state,
    )


def _read(path: Path, subject: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{subject} {path}: expected a file that can be read, got {error.strerror}"
        ) from None


async def _within(seconds: float, asking: Any) -> Answer:  # noqa: ANN401 - one of two coroutines
    async with asyncio.timeout(seconds):
        answer: Answer = await asking
        return answer


async def _ask_socket(path: Path, command: Command) -> Answer:
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise TransportError(
            f"unix {path}: {reason}: does a daemon with commands.path serve there?"
        ) from None
    writer.write(msgspec.json.encode(command) + b"\n")
    line = await reader.readline()
    writer.close()
    return msgspec.json.decode(line, type=Answer)


async def _ask_broker(args: argparse.Namespace, command: Command) -> Answer:
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(messages: list[Message]) -> None:
        if not answered.done():
            answered.set_result(messages[0].payload)

    transport = MqttTransport(connection(args), topics=[f"{args.topic}/replies/{command.id}"], fail_fast=True)
    serving = asyncio.create_task(transport.serve(take), name="ctl")
    try:
        await _first(serving, transport.ready())
        transport.publish(f"{args.topic}/commands/{command.verb}", msgspec.json.encode(command), qos=1)
        payload: bytes = await _first(serving, answered)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError, TransportError):
            await serving
    return msgspec.json.decode(payload, type=Answer)


async def _first(serving: "asyncio.Task[None]", wanted: Awaitable[Any]) -> Any:  # noqa: ANN401 - what was wanted
    """Wait for something, unless the connection fails for good before."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        waiting.cancel()
        await serving
    return await waiting


def _write_histograms(folder: Path, groups: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for group, stages in _histograms(groups).items():
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in group)
        for stage, histogram in stages.items():
            (folder / f"{safe}.{stage}.hgrm").write_text(hgrm(histogram), encoding="utf-8")


def _histograms(groups: dict[str, Any]) -> dict[str, dict[str, Histogram]]:
    return {
        group: {stage: Histogram.of(msgspec.convert(c, Counted)) for stage, c in stages.items()}
        for group, stages in groups.items()
    }


def _told(verb: str, result: dict[str, Any]) -> RenderableType:
    """An answer for people."""
    if verb == "latency":
        return _latency_table(result)
    if verb == "status":
        return _facts(result)
    if verb == "snapshot" and "state" in result:
        size = len(base64.b64decode(result["state"]))
        return f"snapshot: stream {result['stream']!r} after sample {result['seq']}, {size} bytes"
    said = ", ".join(f"{name} {_plain(value)}" for name, value in result.items() if value not in ({}, []))
    return f"{verb}: {said or 'done'}"


def _latency_table(groups: dict[str, Any]) -> Table:
    columns = ("group", "stage", "count", "p50", "p90", "p99", "p99.9", "max")
    table = Table(*columns, box=None, title="microseconds", title_justify="left")
    for column in table.columns[2:]:
        column.justify = "right"
    for group, stages in _histograms(groups).items():
        for stage, histogram in stages.items():
            s = histogram.summary()
            values = (s.p50_us, s.p90_us, s.p99_us, s.p999_us, s.max_us)
            table.add_row(group, stage, str(s.count), *(f"{value:.1f}" for value in values))
    return table


def _facts(status: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False)
    for name, value in status.items():
        if isinstance(value, dict):
            inner = ((n, v) for n, v in value.items() if v)
            table.add_row(name, ", ".join(f"{n} {_plain(v)}" for n, v in inner) or "none")
        else:
            table.add_row(name, _plain(value))
    return table


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_plain(inner)}" for name, inner in value.items() if inner)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
