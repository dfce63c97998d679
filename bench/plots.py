"""The plots of docs/performance.md, drawn from what the JSON says. Without matplotlib there are none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.peers.base import module
from bench.report import Histogram, Report, Table

COLOURS = ("#0b5394", "#e69138", "#6aa84f", "#cc0000", "#8e7cc3", "#7f6000", "#45818e", "#999999")
"""Ours is the first; readable on white."""
LINES = ("-", "--", ":", "-.")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # letters as letters: small files, and text that can be searched
    "svg.hashsalt": "stream-rnn",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
}

Reports = Mapping[str, Report]
Draw = Callable[[Any, Report], None]


def table_of(report: Report, title: str) -> Table:
    """The table whose title begins so."""
    return next(table for table in report.findings.tables if table.title.startswith(title))


def colour(n: int) -> str:
    """Of the n-th candidate."""
    return COLOURS[n % len(COLOURS)]


def latency_by_peer(figure: Any, report: Report) -> None:  # noqa: ANN401 - matplotlib is optional
    """A panel a network: a dot at p50, a line to p99."""
    table = table_of(report, "One step")
    names = table.candidates
    figure.set_size_inches(10, 0.9 + 0.3 * len(names))
    panels = figure.subplots(1, len(table.cases), sharex=True, sharey=True)
    for panel, case in zip(panels, table.cases, strict=True):
        for n, name in enumerate(names):
            figures = table.figures(case, name)
            if figures:
                shown = colour(0 if name.startswith("stream-rnn") else 3)
                panel.plot([figures["p50"], figures["p99"]], [n, n], color=shown, linewidth=2, alpha=0.5)
                panel.plot(figures["p50"], n, "o", color=shown, markersize=6)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(module("matplotlib.ticker").LogLocator(numticks=9))
        panel.xaxis.set_major_formatter(in_full)
        panel.tick_params(axis="x", labelsize=6)
        panel.set_title(case.replace(" ", "\n", 1), fontsize=9)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.supxlabel("microseconds a step (dot: p50, line: to p99)", fontsize=9)


def in_full(value: float, _: int) -> str:
    """A number on an axis without an exponent."""
    return f"{value:,.3g}" if value < 1 else f"{value:,.0f}".replace(",", " ")


def cost_by_size(figure: Any, report: Report) -> None:  # noqa: ANN401 - likewise
    """Lines over units."""
    lines(
        figure,
        table_of(report, "Cost of a step by units"),
        "units of one LSTM layer, 96 inputs",
        "microseconds a step, p50",
    )


def cost_by_streams(figure: Any, report: Report) -> None:  # noqa: ANN401 - likewise
    """Lines over streams."""
    lines(figure, table_of(report, "Cost of a sample by number"), "streams", "microseconds a sample, p50")
    figure.axes[0].set_ylim(bottom=1)


def lines(figure: Any, table: Table, along: str, up: str) -> None:  # noqa: ANN401 - likewise
    """Every candidate's p50 over cases that are numbers."""
    figure.set_size_inches(7, 3.6)
    panel = figure.subplots()
    for n, name in enumerate(table.candidates):
        cases = [case for case in table.cases if table.figures(case, name)]
        xs = [float(case.replace(" ", "")) for case in cases]
        ys = [table.figures(case, name)["p50"] for case in cases]
        panel.plot(xs, ys, LINES[n % len(LINES)], marker="o", markersize=3.5, color=colour(n), label=name)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks([float(case.replace(" ", "")) for case in table.cases], table.cases)
    panel.minorticks_off()
    panel.yaxis.set_major_formatter(in_full)
    panel.set_xlabel(along)
    panel.set_ylabel(up)
    panel.legend(frameon=False, fontsize=8)


def latency_histogram(figure: Any, report: Report) -> None:  # noqa: ANN401 - likewise
    """Part of the samples in each twentieth of a decade."""
    figure.set_size_inches(8, 3.6)
    panel = figure.subplots()
    shown = [h for h in report.findings.histograms if keeps_up(h)]
    for n, histogram in enumerate(shown):
        total = sum(histogram.counts)
        parts = [100 * count / total for count in histogram.counts]
        style = LINES[n % len(LINES)]
        label = histogram.candidate
        panel.stairs(parts, histogram.edges_us, color=colour(n), linestyle=style, label=label, linewidth=1.4)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(in_full)
    used = [e for h in shown for e, count in zip(h.edges_us[1:], h.counts, strict=True) if count]
    panel.set_xlim(min(used) / 1.5, max(used) * 1.2)
    panel.set_xlabel("microseconds from the intended send time to the prediction, 1000 samples a second")
    panel.set_ylabel("% of samples, by 1/20 decade")
    panel.legend(frameon=False, fontsize=8)


def keeps_up(histogram: Histogram) -> bool:
    """Whether half of the predictions came within 20 ms: the rest would only widen the plot."""
    within = sum(c for c, e in zip(histogram.counts, histogram.edges_us[1:], strict=True) if e <= 20_000)
    return 2 * within > sum(histogram.counts)


PLOTS: dict[str, tuple[str, str, Draw]] = {
    "latency-by-peer": ("bench_step", "Time of one step by engine and network", latency_by_peer),
    "cost-by-size": ("bench_scale", "Cost of a step by units", cost_by_size),
    "cost-by-streams": ("bench_scale", "Cost of a sample by number of streams", cost_by_streams),
    "latency-histogram": (
        "bench_pipeline",
        "Latency at 1 kHz, from the intended send time",
        latency_histogram,
    ),
}
"""Name of the file: which benchmark it shows, what the page calls it, how it is drawn."""


def draw_all(reports: Reports, folder: Path, ending: str = "svg") -> list[Path]:
    """Draw every plot whose benchmark was run.

    Raises:
        Absent: There is no matplotlib.
    """
    matplotlib = module("matplotlib")
    matplotlib.use("agg")
    pyplot = module("matplotlib.pyplot")
    drawn = []
    for name, (benchmark, _, draw) in PLOTS.items():
        if benchmark not in reports:
            continue
        with matplotlib.rc_context(STYLE):
            figure = pyplot.figure(layout="constrained", facecolor="white")
            draw(figure, reports[benchmark])
            path = folder / f"{name}.{ending}"
            metadata = {"Date": None} if ending == "svg" else None
            figure.savefig(path, metadata=metadata, dpi=110)
            pyplot.close(figure)
        drawn.append(path)
    return drawn
