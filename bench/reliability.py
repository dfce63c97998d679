"""docs/reliability.md from what chaos, soak, overload and fuzz found: `python -m bench.reliability`.

Each of them writes its result with `--json docs/reliability/NAME.json`; nothing is measured here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from bench.ports import ROOT
from bench.report import Report, render_findings, render_goals, where_and_when

FOLDER, PAGE = ROOT / "docs" / "reliability", ROOT / "docs" / "reliability.md"

INTRO = """\
<!-- Made by `python -m bench.reliability` from docs/reliability/*.json: run it again to change it. -->

# Reliability

What was done to a daemon, and what it came to. What is promised, and how, is in
[durability.md](durability.md); what each fault does, and the test that shows it, in
[faults.md](faults.md). CI runs short forms of all of it.
"""

SECTIONS = {
    "chaos": "Killed, again and again",
    "overload": "Ten times too much",
    "soak": "Ten million samples",
    "fuzz": "Bad input",
}
"""Results in the order of the page."""

UNFINISHED = "**A short form: fewer kills, seconds or samples than are asked for.**"


def render(reports: Mapping[str, Report]) -> str:
    """The whole page.

    Args:
        reports: What was found, by name.
    """
    every = [reports[name] for name in SECTIONS if name in reports]
    missed = tuple(goal for report in every for goal in report.findings.goals if not goal.met)
    met = sum(goal.met for report in every for goal in report.findings.goals)
    parts = [INTRO, f"{met} goals of {met + len(missed)} are met."]
    parts += [render_goals(missed)] if missed else []
    for name, title in SECTIONS.items():
        if name in reports:
            parts += [f"## {title}", *section(reports[name])]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def section(report: Report) -> Iterator[str]:
    """What one of them found."""
    yield report.summary
    yield from [UNFINISHED] if report.quick else []
    yield render_findings(report.findings)
    if report.findings.goals:
        yield render_goals(report.findings.goals)
    yield f"{where_and_when(report)}; `{report.command}`"


def found(folder: Path) -> dict[str, Report]:
    """Every result in a folder."""
    paths = {name: folder / f"{name}.json" for name in SECTIONS}
    return {
        name: msgspec.json.decode(path.read_bytes(), type=Report)
        for name, path in paths.items()
        if path.is_file()
    }


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(found(FOLDER)), encoding="utf-8")


if __name__ == "__main__":
    main()
