"""Every picture of a report: how large, what is said to who cannot see it, how to read it."""

from collections.abc import Callable

import numpy as np

from stream_rnn.report import of_errors, over_time
from stream_rnn.report.errors_by import Profile
from stream_rnn.report.findings import Findings
from stream_rnn.report.markup import Picture, number, significant
from stream_rnn.report.style import HALF, WIDE, Figure, draw

MOST_PROFILED = 4
"""Outputs whose errors are drawn by size and rate of change; tables hold all."""


def pictures_of(found: Findings) -> dict[str, list[Picture]]:
    """The pictures of each section, by its name.

    Raises:
        ConfigError: There is no matplotlib.
    """
    return {
        "time": _time(found),
        "paths": _paths(found),
        "errors": [_profile(found, told) for told in _profiled(found)],
        "lag": [_lag(found)],
        "learning": _learning(found),
        "inputs": [_inputs(found)],
        "recordings": _recordings(found),
    }


def _picture(
    name: str,
    fill: Callable[[Figure], None],
    size: tuple[float, float],
    alt: str,
    caption: str,
) -> Picture:
    drawn = draw(name, fill, *size)
    return Picture(name, drawn.svg, drawn.png, alt, caption, wide=size[0] > HALF)


def _time(found: Findings) -> list[Picture]:
    shown = min(len(found.outputs), over_time.MOST_OUTPUTS)
    names = ", ".join(output.name for output in found.outputs[:shown])
    more = len(found.outputs) - shown
    seconds = (found.shown.stop - found.shown.start) / found.recording.rate_hz
    whole = len(found.t) / found.recording.rate_hz
    left = f" Drawn are {shown} of {len(found.outputs)} outputs; the tables hold all." if more else ""
    everything = found.shown == slice(0, len(found.t))
    which = (
        f"All {seconds:.0f} s" if everything else f"{seconds:.0f} s whose error is the median of all so long"
    )
    pictures = [
        _picture(
            "time",
            lambda figure: over_time.closely(figure, found),
            (WIDE, 0.75 + 1.55 * shown),
            f"Lines over {seconds:.0f} seconds: truth and prediction of {names}.",
            f"{which}. Dashed lines: another stretch begins.{left}"
            if len(found.pieces) > 1
            else f"{which}.{left}",
        )
    ]
    if not everything:
        pictures.append(
            _picture(
                "overview",
                lambda figure: over_time.overview(figure, found),
                (WIDE, 0.75 + 1.05 * shown),
                f"Lines over all {whole:.0f} scored seconds: truth and prediction of {names}.",
                f"All {whole:.0f} s that were scored; the stretch above is shaded.",
            )
        )
    return pictures


def _paths(found: Findings) -> list[Picture]:
    told = found.paths
    if not told.shown:
        return []
    rows = -(-len(told.shown) // 3)
    height = 0.7 + (2.75 if told.kind == "velocity" else 2.3) * rows
    what = {
        "velocity": "integrated velocity, true and predicted, from one starting point",
        "plane": f"{found.outputs[0].name} against {found.outputs[1].name}" if len(found.outputs) > 1 else "",
        "phase": f"{found.outputs[0].name} against its rate of change",
    }[told.kind]
    return [
        _picture(
            "trajectories",
            lambda figure: over_time.paths(figure, found),
            (WIDE, height),
            f"{len(told.shown)} panels of {told.seconds:g} seconds each: {what}.",
            f"{len(told.shown)} of {told.total} stretches of {told.seconds:.3g} s, spread evenly, to one "
            "scale.",
        )
    ]


def _profiled(found: Findings) -> list[Profile]:
    names = [output.name for output in found.outputs[:MOST_PROFILED]]
    return [told for told in found.profiles if told.output in ("", *names)]


def _profile(found: Findings, told: Profile) -> Picture:
    units = {output.name: output.unit for output in found.outputs}
    unit = units.get(told.output, found.outputs[0].unit)
    index = [output.name for output in found.outputs].index(told.output) if told.output else -1
    name = f"error-by-{told.of.replace(' ', '-')}{f'-{index}' if told.output else ''}"
    alt = f"{told.output or 'Error'}: root mean squared error by {of_errors.along(told)}: {_values(told)}."
    if told.of == "direction":
        one, other = (output.name for output in found.outputs)
        return _picture(
            name,
            lambda figure: of_errors.direction(figure, told, unit),
            (HALF, 4.1),
            alt,
            f"Error by direction of the true velocity, while it moves: 0° is +{one}, 90° is +{other}.",
        )
    subject = f"{told.output}: " if told.output and len(found.outputs) > 1 else ""
    means = "" if told.of == "rate of change" else " Below: what was predicted there, on average."
    return _picture(
        name,
        lambda figure: of_errors.profile(figure, told, unit),
        (HALF, 2.6 if told.of == "rate of change" else 4.1),
        alt,
        f"{subject}Error by {of_errors.along(told)}. Grey bars: how many rows.{means}",
    )


def _values(told: Profile) -> str:
    return ", ".join(
        f"{number(float(error), 2)} at {number(float(centre), 1)}"
        for centre, error in zip(told.centres, told.rmse, strict=True)
        if np.isfinite(error)
    )


def _lag(found: Findings) -> Picture:
    told = found.lags
    ms = told.samples[told.best] * 1000.0 / found.recording.rate_hz
    return _picture(
        "lag",
        lambda figure: of_errors.lag(figure, found),
        (HALF, 3.4),
        f"R² by lag, greatest at {ms:.0f} ms: {number(float(told.mean[told.best]))}.",
        "Right of 0, later predictions are compared with the truth: a peak there says that they come late.",
    )


def _learning(found: Findings) -> list[Picture]:
    told = found.history
    if told is None:
        return []
    best = float(np.nan_to_num(told.validation_r2, nan=-np.inf).max())
    kept = f" Dashed: epoch {told.best}, whose weights were kept." if told.best else ""
    return [
        _picture(
            "learning",
            lambda figure: of_errors.learning(figure, told),
            (WIDE, 2.5),
            f"Over {len(told.loss)} epochs, training loss from {significant(told.loss[0])} to "
            f"{significant(told.loss[-1])}, validation R² up to {number(best)}.",
            f"Loss on the training rows with dropout, and R² on the validation rows.{kept}",
        )
    ]


def _inputs(found: Findings) -> Picture:
    told = found.ablation
    names = [found.model.card.inputs[i].name for i in told.order]
    shown = names[: of_errors.MOST_INPUTS]
    first = ", ".join(shown[:3])
    more = len(names) > len(shown)
    left = f" Drawn are {len(shown)} of {len(names)}; the table holds all." if more else ""
    return _picture(
        "inputs",
        lambda figure: of_errors.importance(figure, found),
        (WIDE, 3.1),
        f"Bars of the R² lost without each of {len(names)} inputs, most first: {first}.",
        f"The longer the bar, the more this network relies on the input.{left}",
    )


def _recordings(found: Findings) -> list[Picture]:
    if len(found.recordings) < 2:
        return []
    worst = number(over_time.WORST_SHOWN, 1)
    named = len(found.recordings) <= over_time.MOST_NAMED
    return [
        _picture(
            "recordings",
            lambda figure: over_time.recordings(figure, found),
            (WIDE, 3.4 if named else 2.8),
            f"R² of each of {len(found.recordings)} recordings, best first.",
            f"R² of each recording by itself; arrows: below {worst}. Where truth hardly "
            "moves, a small error makes a low R².",
        )
    ]
