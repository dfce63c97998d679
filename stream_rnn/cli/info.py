"""`stream-rnn info`: what a model file or a recording holds."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from stream_rnn.kernels.plan import state_size
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Channel, Model
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.sample import Flag
from stream_rnn.wire import CODECS

NAMES_SHOWN = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("file", type=Path, help="model file, or .mcap recording")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Read, check the digest, describe."""
    if args.file.suffix == ".mcap":
        contents = contents_of(McapRecording(args.file))
        if args.json:
            print(msgspec.json.encode(contents).decode())
        else:
            Console().print(*_recording_tables(args.file, contents), sep="\n")
        return 0
    model = load_model(args.file)
    if args.json:
        print(msgspec.json.encode({"hash": model.hash, **msgspec.to_builtins(model.card)}).decode())
    else:
        Console().print(_facts(args.file, description(model)))
    return 0


class StreamContents(msgspec.Struct):
    """One stream of a recording."""

    samples: int = 0
    predictions: int = 0
    states: int = 0
    gaps: int = 0
    missed: int = 0
    first_ns: int = 0
    last_ns: int = 0

    @property
    def rate_hz(self) -> float:
        """Samples a second from the first to the last."""
        return (
            (self.samples - 1) * 1e9 / (self.last_ns - self.first_ns) if self.last_ns > self.first_ns else 0.0
        )


class Contents(msgspec.Struct):
    """What a recording holds."""

    header: dict[str, str]
    model: bool
    whole: bool
    seconds: float
    events: int
    streams: dict[str, StreamContents]


def contents_of(recording: McapRecording) -> Contents:
    """Count everything in a recording."""
    streams: dict[str, StreamContents] = {}
    events, first_ns, last_ns = 0, 0, 0
    for entry in recording.entries():
        first_ns = first_ns or entry.t_log_ns
        last_ns = entry.t_log_ns
        if entry.kind == "events":
            events += 1
            continue
        stream = streams.setdefault(entry.stream, StreamContents())
        if entry.kind == "samples":
            stream.samples += 1
            stream.first_ns = stream.first_ns or entry.t_log_ns
            stream.last_ns = entry.t_log_ns
        elif entry.kind == "predictions":
            prediction, _ = CODECS["json"].decode_prediction(entry.payload)
            stream.predictions += 1
            stream.gaps += bool(prediction.flags & Flag.GAP)
            stream.missed += prediction.missed
        else:
            stream.states += 1
    seconds = (last_ns - first_ns) / 1e9
    return Contents(recording.header, recording.model is not None, recording.whole, seconds, events, streams)


def _recording_tables(path: Path, contents: Contents) -> list[Table]:
    facts = {name: value for name, value in contents.header.items() if name != "config"}
    facts |= {
        "model inside": "yes" if contents.model else "no",
        "closed properly": "yes" if contents.whole else "no, read as far as it goes",
        "duration": f"{contents.seconds:.1f} s",
        "events": str(contents.events),
    }
    table = Table(header_style="dim")
    table.add_column("stream", style="bold")
    for heading in ("samples", "Hz", "predictions", "gaps", "missed", "states"):
        table.add_column(heading, justify="right")
    for name, stream in sorted(contents.streams.items()):
        counts = (stream.predictions, stream.gaps, stream.missed, stream.states)
        table.add_row(name, str(stream.samples), f"{stream.rate_hz:.1f}", *map(str, counts))
    return [_facts(path, facts), table]


def _facts(path: Path, facts: dict[str, Any]) -> Table:
    table = Table(title=str(path), title_justify="left", title_style="bold", show_header=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    return table


def description(model: Model) -> dict[str, Any]:
    """What a person wants to know about a model, by what it is called."""
    card = model.card
    plan = card.architecture.plan()
    facts = {
        "model": model.hash,
        "architecture": card.architecture,
        "parameters": f"{model.weights.size:,}",
        "state": f"{card.bin} x {state_size(plan)} numbers a stream",
        "inputs": _names(card.inputs),
        "outputs": _names(card.outputs),
        "rate": f"{card.rate_hz:g} samples a second",
        "bin": f"{card.bin} samples, {model.bin_ms:g} ms",
        "missing features": card.missing,
        "horizon": f"{card.horizon} samples",
        "golden vector": f"{len(model.golden_x)} rows",
        "intervals": "none"
        if model.residuals is None
        else f"from {len(model.residuals)} quantiles of residuals",
    }
    told = {name: value for name, value in card.provenance.items() if not name.startswith("history_")}
    return facts | {name.replace("_", " "): value for name, value in told.items()}


def _names(channels: tuple[Channel, ...]) -> str:
    shown = ", ".join(f"{c.name} ({c.unit})" if c.unit else c.name for c in channels[:NAMES_SHOWN])
    more = len(channels) - NAMES_SHOWN
    return f"{shown}, and {more} more" if more > 0 else shown
