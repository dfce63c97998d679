"""Figures of predictions as they came: over time, in the plane, by recording."""

import numpy as np

from stream_rnn.model.model import Channel
from stream_rnn.report.errors_by import best_first, mean_of
from stream_rnn.report.findings import Findings
from stream_rnn.report.paths import Path, Paths
from stream_rnn.report.pieces import F64, line
from stream_rnn.report.style import INK, MODEL, MUTED, RULE, SECOND, TRUTH, Axes, Figure

PIXELS = 760
"""Of a wide figure: no line has more than two points for each."""
MOST_OUTPUTS = 6
"""Outputs that are drawn; tables hold all."""
WORST_SHOWN = -0.5
"""R2 of a recording below which the axis ends."""
MOST_NAMED = 40


def labelled(channel: Channel) -> str:
    """The name of an output, and below it its unit."""
    return f"{channel.name}\n{channel.unit}" if channel.unit else channel.name


def closely(figure: Figure, found: Findings) -> None:
    """Truth and prediction of a typical stretch, a panel an output."""
    _over_time(figure, found, found.shown, close=True)


def overview(figure: Figure, found: Findings) -> None:
    """Truth and prediction of all scored rows, a panel an output, the stretch above shaded."""
    everything = slice(0, len(found.t))
    for panel in _over_time(figure, found, everything, close=False):
        if found.shown != everything:
            ends = found.t[found.shown.start], found.t[found.shown.stop - 1]
            panel.axvspan(*ends, color=SECOND, alpha=0.13, linewidth=0)


def _over_time(figure: Figure, found: Findings, rows: slice, *, close: bool) -> list[Axes]:
    outputs = found.outputs[:MOST_OUTPUTS]
    panels = figure.subplots(len(outputs), 1, sharex=True, squeeze=False)[:, 0]
    for k, (panel, output) in enumerate(zip(panels, outputs, strict=True)):
        truth = line(found.t, found.decoded.truth[:, k], found.pieces, rows, PIXELS)
        predicted = line(found.t, found.decoded.y[:, k], found.pieces, rows, PIXELS)
        panel.plot(*truth, color=TRUTH, linewidth=2.6 if close else 1.0, alpha=0.75, label="truth")
        panel.plot(*predicted, color=MODEL, linewidth=1.3 if close else 0.8, label="prediction")
        panel.set_ylabel(labelled(output))
        panel.margins(x=0.005)
        if close:
            _borders(panel, found, rows)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    joined = len(found.pieces) > 1
    panels[-1].set_xlabel("seconds, stretches end to end" if joined else "seconds of the recording")
    return list(panels)


def _borders(panel: Axes, found: Findings, rows: slice) -> None:
    """Where another piece begins."""
    for piece in found.pieces:
        if rows.start < piece.start < rows.stop:
            panel.axvline(found.t[piece.start], color=RULE, linewidth=0.8, linestyle=(0, (4, 3)))


def paths(figure: Figure, found: Findings) -> None:
    """Some stretches in the plane, a panel each, all to one scale."""
    told = found.paths
    columns = min(3, len(told.shown))
    rows = -(-len(told.shown) // columns)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(told.shown) :]:
        panel.set_visible(False)
    spans = _spans(told)
    for panel, path, (low, high) in zip(panels, told.shown, spans, strict=False):
        panel.plot(*path.truth.T, color=TRUTH, linewidth=2.6, alpha=0.75, label="truth")
        panel.plot(*path.predicted.T, color=MODEL, linewidth=1.3, label="prediction")
        panel.plot(*path.truth[0], "o", color=INK, markersize=4, label="start")
        panel.set_xlim(low[0], high[0])
        panel.set_ylim(low[1], high[1])
        if told.kind == "velocity":
            panel.set_aspect("equal")
        panel.set_title(f"from {found.t[path.start]:.0f} s", color=MUTED, fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    figure.supxlabel(told.axes[0], fontsize=8.5, color=MUTED)
    figure.supylabel(told.axes[1], fontsize=8.5, color=MUTED)


def _spans(told: Paths) -> list[tuple[F64, F64]]:
    """Lower left and upper right corner of each panel: as wide as the widest needs; of outputs, the same."""

    def corners(path: Path) -> tuple[F64, F64]:
        both = np.concatenate([path.truth, path.predicted])
        return both.min(axis=0), both.max(axis=0)

    found = [corners(path) for path in told.shown]
    lows, highs = (np.stack(side) for side in zip(*found, strict=True))
    if told.kind != "velocity":
        low, high = lows.min(axis=0), highs.max(axis=0)
        room = 0.05 * (high - low) + 1e-9
        return [(low - room, high + room)] * len(found)
    half = 0.54 * float((highs - lows).max()) + 1e-9
    return [(middle - half, middle + half) for middle in (lows + highs) / 2]


def recordings(figure: Figure, found: Findings) -> None:
    """Mean R2 of every recording, best first; one below the axis is an arrow at its end."""
    panel = figure.subplots()
    scores = best_first(found.recordings)
    shown = np.array([mean_of(score.r2) for score in scores], dtype=np.float64)
    names, places = [score.name for score in scores], np.arange(len(scores))
    inside = shown >= WORST_SHOWN
    below = shown < WORST_SHOWN
    panel.vlines(places[inside], 0, shown[inside], color=MODEL, alpha=0.35, linewidth=2)
    panel.plot(places[inside], shown[inside], "o", color=MODEL, markersize=4.5)
    panel.plot(places[below], np.full(below.sum(), WORST_SHOWN), "v", color=SECOND, markersize=5.5)
    panel.axhline(0, color=RULE, linewidth=0.8)
    if np.isfinite(shown).any():
        median = float(np.nanmedian(shown))
        panel.axhline(max(median, WORST_SHOWN), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        panel.annotate(
            f"median {median:.3f}",
            (1, max(median, WORST_SHOWN)),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=INK,
            fontsize=8,
        )
    panel.set_ylim(WORST_SHOWN - 0.06 if below.any() else min(-0.02, np.nanmin(shown, initial=0) - 0.02), 1.0)
    panel.set_ylabel("R², mean of outputs" if len(found.outputs) > 1 else "R²")
    panel.grid(visible=False, axis="x")
    if len(names) <= MOST_NAMED:
        panel.set_xticks(places, names, rotation=90, fontsize=7)
    else:
        panel.set_xticks([])
        panel.set_xlabel(f"{len(names)} recordings, best first")
    panel.set_xlim(-0.8, len(names) - 0.2)
