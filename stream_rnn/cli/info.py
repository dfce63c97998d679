"""`stream-rnn info`: what a model file holds."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from stream_rnn.kernels.network import state_size
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Channel, Model

NAMES_SHOWN = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("file", type=Path, help="model file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Read, check the digest, describe."""
    model = load_model(args.file)
    if args.json:
        print(msgspec.json.encode({"hash": model.hash, **msgspec.to_builtins(model.card)}).decode())
        return 0
    table = Table(title=f"{args.file}", title_justify="left", title_style="bold", show_header=False)
    for name, value in description(model).items():
        table.add_row(name, str(value))
    Console().print(table)
    return 0


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
    }
    return facts | {name.replace("_", " "): value for name, value in card.provenance.items()}


def _names(channels: tuple[Channel, ...]) -> str:
    shown = ", ".join(f"{c.name} ({c.unit})" if c.unit else c.name for c in channels[:NAMES_SHOWN])
    more = len(channels) - NAMES_SHOWN
    return f"{shown}, and {more} more" if more > 0 else shown
