"""Figures of errors and of what they depend on: speed, direction, size, lag, epochs, inputs."""

from collections.abc import Sequence

import numpy as np

from stream_rnn.report.errors_by import Profile
from stream_rnn.report.findings import Findings, History
from stream_rnn.report.pieces import F64
from stream_rnn.report.style import (
    INK,
    MARKERS,
    MODEL,
    MUTED,
    RULE,
    SECOND,
    SERIES,
    SURFACE,
    TRUTH,
    Axes,
    Figure,
)

MOST_INPUTS = 60
"""Bars of inputs that are drawn; the table holds all."""
DASHED = (0, (4, 3))


def along(profile: Profile) -> str:
    """What a profile's bins are of, with its unit."""
    name = {"speed": "true speed", "direction": "true direction"}.get(
        profile.of, "true value" if profile.of == "value" else "true rate of change, either way"
    )
    return f"{name} ({profile.unit})" if profile.unit else name


def profile(figure: Figure, told: Profile, unit: str) -> None:
    """Above, the error in each bin over how many rows it has; below, what was predicted there."""
    with_means = told.of != "rate of change"
    panels = np.atleast_1d(figure.subplots(2 if with_means else 1, 1, sharex=True))
    _errors(panels[0], told, unit)
    if with_means:
        panel = panels[1]
        panel.plot(told.truth, told.truth, color=TRUTH, linewidth=1.2, linestyle=DASHED, label="truth")
        panel.plot(told.truth, told.predicted, "o-", color=MODEL, markersize=4, label="prediction")
        panel.set_ylabel(f"mean {'speed' if told.of == 'speed' else 'value'}{_in(unit)}")
        panel.legend(loc="upper left")
    panels[-1].set_xlabel(along(told))


def _errors(panel: Axes, told: Profile, unit: str) -> None:
    rows = panel.twinx()
    rows.bar(told.centres, told.rows, width=np.diff(told.edges) * 0.94, color=TRUTH, alpha=0.22, linewidth=0)
    rows.set_ylim(0, 1.9 * max(1, told.rows.max()))
    rows.set_axis_off()
    panel.set_zorder(rows.get_zorder() + 1)
    panel.plot(told.centres, told.rmse, "o-", color=MODEL, markersize=4)
    top = float(np.nan_to_num(told.rmse).max())
    panel.set_ylim(0, 1.1 * top or 1.0)
    panel.set_ylabel(f"error, RMSE{_in(unit)}")


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""


def direction(figure: Figure, told: Profile, unit: str) -> None:
    """The error towards each direction as a rose."""
    panel = figure.subplots(subplot_kw={"projection": "polar"})
    angles, width = np.radians(told.centres), np.radians(np.diff(told.edges))
    panel.bar(angles, np.nan_to_num(told.rmse), width=width * 0.9, color=MODEL, alpha=0.55, linewidth=0)
    panel.set_xticks(angles, [f"{angle:.0f}°" for angle in told.centres])
    panel.set_rlabel_position(22.5)
    panel.spines["polar"].set_color(RULE)
    panel.set_title(f"error, RMSE{_in(unit)}", color=MUTED, fontsize=8.5, pad=10)
    panel.tick_params(axis="y", labelsize=7.5, labelcolor=INK)


def lag(figure: Figure, found: Findings) -> None:
    """R2 of predictions moved in time: the mean, and each output where there are few."""
    panel, told = figure.subplots(), found.lags
    ms = told.samples * 1000.0 / found.recording.rate_hz
    K = len(found.outputs)
    if 1 < K <= len(SERIES) - 1:
        for k, output in enumerate(found.outputs):
            panel.plot(
                ms, told.r2[:, k], color=SERIES[k + 1], linewidth=1.0, label=output.name, linestyle=_dash(k)
            )
    panel.plot(ms, told.mean, color=MODEL, linewidth=2.0, label="mean" if K > 1 else None)
    panel.axvline(0, color=RULE, linewidth=1.0)
    at, best = ms[told.best], told.mean[told.best]
    panel.plot([at], [best], "o", color=INK, markersize=5)
    panel.axvline(at, color=INK, linewidth=0.9, linestyle=DASHED)
    place = {"xytext": (5, -2), "textcoords": "offset points", "va": "top"}
    panel.annotate(f"{at:+.0f} ms" if at else "0 ms", (at, 1), xycoords=("data", "axes fraction"), **place)
    panel.margins(y=0.14)
    panel.set_xlabel("prediction taken so much later (ms)")
    panel.set_ylabel("R²")
    if 1 < K <= len(SERIES) - 1:
        panel.legend(loc="upper left")


def _dash(k: int) -> object:
    return ("-", (0, (5, 2)), (0, (1.5, 1.5)))[k % 3]


def learning(figure: Figure, told: History) -> None:
    """Loss and validation R2 of each epoch, and which one was kept."""
    loss, validation = figure.subplots(1, 2)
    epochs = np.arange(1, len(told.loss) + 1)
    marker = "o" if len(epochs) <= 30 else None
    loss.plot(epochs, told.loss, color=SECOND, marker=marker, markersize=3)
    loss.set_ylabel("training loss")
    validation.plot(epochs, told.validation_r2, color=MODEL, marker=marker, markersize=3)
    validation.set_ylabel("validation R²")
    shown = np.array(told.validation_r2)
    if np.isfinite(shown).sum() > 4:  # the first epochs of a fit would flatten the rest
        low, high = float(np.nanquantile(shown, 0.1)), float(np.nanmax(shown))
        validation.set_ylim(low - 0.35 * (high - low) - 1e-3, high + 0.15 * (high - low) + 1e-3)
    for panel in (loss, validation):
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    if 0 < told.best <= len(epochs):
        for panel in (loss, validation):
            panel.axvline(told.best, color=INK, linewidth=0.9, linestyle=DASHED)
        validation.plot([told.best], [told.validation_r2[told.best - 1]], "o", color=INK, markersize=5)


def importance(figure: Figure, found: Findings) -> None:
    """What R2 loses without each input, most missed first: bars for the mean, marks for the outputs."""
    panel, told = figure.subplots(), found.ablation
    order = told.order[:MOST_INPUTS]
    places, names = np.arange(len(order)), [found.model.card.inputs[i].name for i in order]
    K = len(found.outputs)
    panel.bar(places, told.mean[order], width=0.72, color=MODEL, alpha=0.85, label="mean" if K > 1 else None)
    if 1 < K <= len(SERIES) - 1:
        _marks(panel, told.drop[order], [output.name for output in found.outputs])
        panel.legend(loc="upper right", ncols=K + 1)
    panel.axhline(0, color=RULE, linewidth=0.8)
    steep = len(order) > 10 or max(map(len, names)) > 12
    panel.set_xticks(places, names, rotation=90 if steep else 0, fontsize=7.5 if len(order) <= 40 else 6.5)
    panel.set_xlim(-0.7, len(order) - 0.3)
    panel.grid(visible=False, axis="x")
    panel.set_ylabel("R² lost without it")


def _marks(panel: Axes, drops: F64, names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        panel.plot(
            drops[:, k],
            MARKERS[k],
            color=SERIES[k + 1],
            markersize=4.5,
            markeredgecolor=SURFACE,
            markeredgewidth=0.6,
            label=name,
        )
