"""What every benchmark does when it is run: pin to one core, measure, print, write JSON."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.machine import machine_line, pin, today, versions
from bench.report import Findings, Report, render_alone, render_report

DISTRIBUTIONS = (
    "stream-rnn",
    "numpy",
    "numba",
    "onnxruntime",
    "ai-edge-litert",
    "torch",
    "keras",
    "tensorflow",
    "ezmsg",
    "aiomqtt",
    "gmqtt",
    "uvloop",
)


def main(
    module: str,
    summary: str | None,
    measure: Callable[[bool], Findings],
    *,
    pinned: bool = True,
    page: Path | None = None,
) -> None:
    """Run one benchmark as a program.

    Args:
        module: Its name, as `python -m` takes it.
        summary: Its docstring.
        measure: What it measures; told whether to be quick.
        pinned: Whether it and its children stay on one core.
        page: A page of its own to write, unless it is quick.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=summary)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it works")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write what was found here too")
    args = parser.parse_args()
    quick: bool = args.quick
    path: Path | None = args.json
    if pinned:
        pin()
    report = reported(module, summary, " --quick" if quick else "", measure(quick), quick=quick)
    tell(report, path)
    if page is not None and not quick:
        page.write_text(render_alone(report), encoding="utf-8")


def reported(module: str, summary: str | None, options: str, findings: Findings, *, quick: bool) -> Report:
    """Findings, with where, when and by which command they came about.

    Args:
        module: Its name, as `python -m` takes it.
        summary: Its docstring.
        options: What stood behind the name.
        findings: What was measured.
        quick: Whether it is no result.
    """
    return Report(
        name=module.rpartition(".")[2],
        summary=(summary or "").partition("\n\n")[0],
        command=f"python -m {module}{options}",
        date=today(),
        machine=machine_line(),
        versions=versions(DISTRIBUTIONS),
        quick=quick,
        findings=findings,
    )


def tell(report: Report, path: Path | None) -> None:
    """Print a report; write it as JSON too, where a path is given."""
    print(render_report(report))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def say(text: str) -> None:
    """Tell on standard error what is being measured."""
    print(text, file=sys.stderr, flush=True)
