"""What a benchmark found, as frozen values that JSON holds, and tables made of them. Measures nothing."""

from collections.abc import Iterator
from typing import Literal

import msgspec


class Row(msgspec.Struct, frozen=True):
    """The figures of one candidate in one case, as p50 and p99."""

    case: str
    candidate: str
    figures: dict[str, float]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates side by side.

    Attributes:
        title: What is compared.
        unit: Of every figure.
        ours: The candidate that the others are compared with.
        rows: Figures of every candidate in every case; the first figure makes the ratio.
        no_peers: Candidates that no loss is counted against: bounds, and other ways of our own.
        better: Which figure wins.
        ratios: Whether the candidates compete.
        note: What a reader must know.
    """

    title: str
    unit: str
    ours: str
    rows: tuple[Row, ...]
    no_peers: tuple[str, ...] = ()
    better: Literal["lower", "higher"] = "lower"
    ratios: bool = True
    note: str = ""

    @property
    def cases(self) -> list[str]:
        """In the order they were measured."""
        return list(dict.fromkeys(row.case for row in self.rows))

    @property
    def candidates(self) -> list[str]:
        """In the order they were measured."""
        return list(dict.fromkeys(row.candidate for row in self.rows))

    def figures(self, case: str, candidate: str) -> dict[str, float]:
        """Of one candidate in one case; empty where it was not measured."""
        found = (row.figures for row in self.rows if (row.case, row.candidate) == (case, candidate))
        return next(found, {})


class Goal(msgspec.Struct, frozen=True):
    """What we want to hold, what was found, and the most or the least it may be."""

    text: str
    found: float
    limit: float
    wanted: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.found <= self.limit if self.wanted == "at most" else self.found >= self.limit


class Histogram(msgspec.Struct, frozen=True):
    """Counts of durations between edges, one count fewer than edges, in microseconds."""

    candidate: str
    edges_us: list[float]
    counts: list[int]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What `measure` returns.

    Attributes:
        tables: In the order of the page.
        goals: What we want to hold.
        skipped: Candidates that could not run, and why.
        histograms: For the plot.
        notes: What a reader should know of all tables.
    """

    tables: tuple[Table, ...]
    goals: tuple[Goal, ...] = ()
    skipped: dict[str, str] = {}
    histograms: tuple[Histogram, ...] = ()
    notes: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Findings, and where, when, of what and how they came about."""

    name: str
    summary: str
    command: str
    date: str
    machine: str
    versions: dict[str, str]
    quick: bool
    findings: Findings


class Loss(msgspec.Struct, frozen=True):
    """A figure where a peer is better than we are."""

    benchmark: str
    table: str
    case: str
    peer: str
    figure: str
    theirs: float
    ours: float
    unit: str


def losses(report: Report) -> Iterator[Loss]:
    """Every figure of every table where a peer is better than our candidate of that table."""
    for table in report.findings.tables:
        peers = [row for row in table.rows if row.candidate not in {table.ours, *table.no_peers}]
        for row in peers if table.ratios else ():
            ours, where = (
                table.figures(row.case, table.ours),
                (report.name, table.title, row.case, row.candidate),
            )
            for name in (name for name in row.figures if name in ours):
                ahead = ours[name] - row.figures[name]
                if (ahead if table.better == "lower" else -ahead) > 0:
                    yield Loss(*where, name, row.figures[name], ours[name], table.unit)


def number(value: float) -> str:
    """About three significant digits, without an exponent; those of a count that has fewer are all."""
    if float(value).is_integer() and not 0 < abs(value) < 10:
        return f"{int(value):,}".replace(",", " ")
    decimals = next((n for n, least in enumerate((100, 10, 1)) if abs(value) >= least), 3)
    return f"{value:,.{decimals}f}".replace(",", " ")


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table as Markdown writes it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cell(table: Table, case: str, candidate: str) -> str:
    """Figures of a candidate, and how often ours goes into the first of them."""
    figures = table.figures(case, candidate)
    if not figures:
        return ""
    text = " / ".join(number(value) for value in figures.values())
    if candidate == table.ours:
        return f"**{text}**"
    first, reference = next(iter(figures.values())), table.figures(case, table.ours)
    base = next(iter(reference.values()), 0.0)
    return f"{text} ({number(first / base)}x)" if base and table.ratios else text


def render_table(table: Table) -> str:
    """A table with its title, as Markdown; the longer of cases and candidates goes down."""
    cases, candidates = table.cases, table.candidates
    names = " / ".join(dict.fromkeys(name for row in table.rows for name in row.figures))
    wins = f"; {table.better} is better; {table.ours} is 1x" if table.ratios else ""
    head = f"**{table.title}** ({names}, {table.unit}{wins})"
    if len(candidates) >= len(cases):
        rows = [[name, *(cell(table, case, name) for case in cases)] for name in candidates]
        body = markdown_table(["", *cases], rows)
    else:
        rows = [[case, *(cell(table, case, name) for name in candidates)] for case in cases]
        body = markdown_table(["", *candidates], rows)
    return "\n\n".join(part for part in (head, body, table.note) if part)


def render_goals(goals: tuple[Goal, ...]) -> str:
    """Goals, what was found, and whether they are met: first those of a most, then those of a least."""
    rows: dict[str, list[list[str]]] = {"at most": [], "at least": []}
    for goal in goals:
        met = "met" if goal.met else "**not met**"
        rows[goal.wanted].append([goal.text, number(goal.found), number(goal.limit), met])
    return "\n\n".join(
        markdown_table(["goal", "found", most, ""], some) for most, some in rows.items() if some
    )


def where_and_when(report: Report) -> str:
    """Machine, versions and date."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{report.machine}; {versions}; {report.date}"


def render_findings(findings: Findings) -> str:
    """Tables, notes and what is missing, as Markdown."""
    parts = [*(render_table(table) for table in findings.tables), *findings.notes]
    if findings.skipped:
        parts.append(
            "Not measured: " + "; ".join(f"{k} ({why})" for k, why in findings.skipped.items()) + "."
        )
    return "\n\n".join(parts)


def render_alone(report: Report) -> str:
    """A page of its own for one benchmark."""
    title = report.name.removeprefix("bench_").capitalize()
    made = f"<!-- Made by `{report.command}`: run it again to change it. -->"
    return "\n\n".join([made, f"# {title}", report.summary, render_report(report)]) + "\n"


def render_report(report: Report) -> str:
    """All that a benchmark prints."""
    parts = [f"{where_and_when(report)}: `{report.command}`", render_findings(report.findings)]
    if report.findings.goals:
        parts.append(render_goals(report.findings.goals))
    return "\n\n".join(parts)
