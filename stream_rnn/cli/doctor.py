"""`stream-rnn doctor`: what keeps a daemon from running well here, and what to do about it."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from stream_rnn.doctor.examine import examine
from stream_rnn.doctor.findings import Finding

SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red"), "skip": ("-", "dim")}
WIDTH = 14


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "config", nargs="?", type=Path, help="the daemon's config; the machine alone is looked at without"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list of findings")


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 when something keeps the daemon from running."""
    findings = asyncio.run(_examine(args.config, None if args.json else Console(highlight=False)))
    if args.json:
        print(msgspec.json.encode(findings).decode())
    return int(any(finding.verdict == "fail" for finding in findings))


async def _examine(config: Path | None, console: Console | None) -> list[Finding]:
    findings = []
    async for finding in examine(config, os.environ):
        findings.append(finding)
        if console is not None:
            console.print(told(finding, terminal=console.is_terminal), soft_wrap=True)
    if console is not None:
        console.print(verdict(findings), soft_wrap=True)
    return findings


def told(finding: Finding, *, terminal: bool) -> Text:
    """One finding as a line, and a second one where there is something to do.

    Args:
        finding: The finding.
        terminal: Signs and colours, instead of words.
    """
    sign, style = SIGNS[finding.verdict]
    sign = sign if terminal else f"{finding.verdict:<4}"
    text = Text.assemble(
        (sign, style), f" {finding.subject:<{WIDTH}} ", (finding.found, style * (style == "dim"))
    )
    if finding.do:
        text.append(f"\n{'':<{len(sign) + WIDTH + 2}}{finding.do}", style="italic")
    return text


def verdict(findings: Sequence[Finding]) -> str:
    """All findings in one line."""
    failed, warned = (sum(f.verdict == v for f in findings) for v in ("fail", "warn"))
    noted = f"{warned} {'thing' if warned == 1 else 'things'} could be better"
    if failed:
        reasons = ", ".join(f.subject for f in findings if f.verdict == "fail")
        return f"The daemon would not run well: {reasons}." + (f" Besides, {noted}." if warned else "")
    return f"Nothing keeps a daemon from running here{f'; {noted}' if warned else ''}."
