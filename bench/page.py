"""docs/performance.md as text: a pure function of what the benchmarks found."""

from collections.abc import Iterator, Mapping

from bench.plots import PLOTS
from bench.report import (
    Report,
    losses,
    markdown_table,
    number,
    render_findings,
    render_goals,
    where_and_when,
)

MADE = "<!-- Made by `python -m bench` from docs/performance.json: run it again to change it. -->"
IMAGES = "performance"

INTRO = """\
Every figure is a ratio in one run: candidates take turns, round after round, one thread each, on one core
where nothing else is said. Peers have our weights, run at their best setting for one stream, and are
checked against our predictions before they are timed. Tables give medians and high percentiles; in
parentheses, how many times ours a peer takes. Absolute times belong to the machine; ratios carry over
better.

```console
$ pip install '.[peers]'
$ python -m bench
$ python -m bench.bench_step --quick
```

The second command runs everything and writes this page. A peer that is not installed is left out by name:
PyTorch, TensorFlow and Keras take part where they are."""

SECTIONS = {
    "bench_step": "One step",
    "bench_ahead": "Made ready before the sample comes",
    "bench_batch": "Many streams at once",
    "bench_scale": "More streams, more units",
    "bench_pipeline": "The whole way of a sample",
    "bench_sockets": "Sockets",
    "bench_mqtt": "MQTT",
    "bench_durable": "Nothing lost",
    "bench_start": "Start",
    "bench_train": "Training",
}
"""Benchmarks in the order of the page."""

Reports = Mapping[str, Report]


def render_page(reports: Reports, absent: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        reports: What was found, by name of the benchmark.
        absent: Benchmarks that were not run, and why.
    """
    parts = [MADE, "# Performance", INTRO]
    places = {where_and_when(report) for report in reports.values()}
    parts += places if len(places) == 1 else []
    if any(report.quick for report in reports.values()):
        parts.append("**Made with `--quick`: few rounds. Nothing below is a result.**")
    parts += ["## Goals", goals(reports), "## Where we lose", where_we_lose(reports)]
    for name, title in SECTIONS.items():
        if name in reports:
            report = reports[name]
            parts += [f"## {title}", report.summary, *images(name)]
            parts += [] if len(places) == 1 else [where_and_when(report)]
            parts.append(render_findings(report.findings))
    if absent:
        parts += ["## Not run", "\n".join(f"- {name}: {why}" for name, why in absent.items())]
    return "\n\n".join(parts) + "\n"


def images(benchmark: str) -> Iterator[str]:
    """The plots of a benchmark."""
    for name, (shown, title, _) in PLOTS.items():
        if shown == benchmark:
            yield f"![{title}]({IMAGES}/{name}.svg)"


def goals(reports: Reports) -> str:
    """Every goal of every benchmark."""
    every = tuple(goal for name in SECTIONS if name in reports for goal in reports[name].findings.goals)
    return render_goals(every) if every else "None was measured."


def where_we_lose(reports: Reports) -> str:
    """Every figure where a peer is better than we are, taken from the tables below."""
    rows = [
        [
            loss.table,
            loss.case,
            loss.peer,
            loss.figure,
            f"{number(loss.theirs)} {loss.unit}",
            f"{number(loss.ours)} {loss.unit}",
            f"{number(loss.theirs / loss.ours)}x",
        ]
        for name in SECTIONS
        if name in reports
        for loss in losses(reports[name])
    ]
    if not rows:
        return "In no row of the tables below."
    head = f"In {len(rows)} figures of the tables below a peer is better:"
    return f"{head}\n\n" + markdown_table(
        ["where", "case", "peer", "figure", "theirs", "ours", "theirs/ours"], rows
    )
