"""Run every benchmark and write docs/performance.md with its plots: `python -m bench`."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.page import IMAGES, SECTIONS, render_page
from bench.peers.base import Absent
from bench.plots import draw_all
from bench.report import Report

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCS = HERE.parent / "docs"


class Results(msgspec.Struct, frozen=True):
    """What docs/performance.json holds: reports, and benchmarks that were not run with the reason."""

    reports: dict[str, Report]
    absent: dict[str, str]


def run(name: str, *, quick: bool) -> str:
    """Run one benchmark in a process of its own; why it gave no result, or nothing."""
    if not (HERE / f"{name}.py").is_file():
        return "there is no such benchmark here"
    (RESULTS / f"{name}.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", f"bench.{name}", "--json", str(RESULTS / f"{name}.json")]
    ended = subprocess.run([*command, *(["--quick"] if quick else [])], cwd=HERE.parent, check=False)
    return f"ended with code {ended.returncode}" if ended.returncode else ""


def gather(failed: dict[str, str]) -> Results:
    """Every result there is."""
    reports, absent = {}, {}
    for name in SECTIONS:
        path = RESULTS / f"{name}.json"
        if path.is_file():
            reports[name] = msgspec.json.decode(path.read_bytes(), type=Report)
        else:
            absent[name] = failed.get(name) or "not run"
    return Results(reports, absent)


def write(results: Results, docs: Path) -> None:
    """Write the page, what it says as JSON, and its plots."""
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=1)
    (docs / "performance.json").write_bytes(encoded + b"\n")
    (docs / "performance.md").write_text(render_page(results.reports, results.absent), encoding="utf-8")
    folder = docs / IMAGES
    folder.mkdir(exist_ok=True)
    try:
        draw_all(results.reports, folder)
    except Absent as why:
        print(f"no plots: {why}", file=sys.stderr)


def main() -> int:
    """Run what is asked for, write the page; 1 where a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these benchmarks; the others' last results stay"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it works")
    parser.add_argument(
        "--render", action="store_true", help="run nothing: write the page from the last results"
    )
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    failed: dict[str, str] = {}
    if not args.render:
        if not args.names:
            shutil.rmtree(RESULTS)
            RESULTS.mkdir()
        for name in args.names or SECTIONS:
            print(f"== {name}", file=sys.stderr, flush=True)
            if why := run(name, quick=args.quick):
                failed[name] = why
    write(gather(failed), DOCS)
    for name, why in failed.items():
        print(f"{name}: {why}", file=sys.stderr)
    return int(any("code" in why for why in failed.values()))


if __name__ == "__main__":
    raise SystemExit(main())
