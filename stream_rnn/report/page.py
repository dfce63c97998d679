"""The page: sections of findings, pictures and tables, as one HTML document that needs nothing else.

No script, no font, no picture from elsewhere: its policy forbids them.
"""

import importlib.resources
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np

from stream_rnn.report.card import card_tables
from stream_rnn.report.errors_by import Profile, best_first, best_of, mean_of
from stream_rnn.report.findings import Findings
from stream_rnn.report.markup import (
    Picture,
    figure,
    folded,
    number,
    paragraph,
    section,
    significant,
    table,
    tiles,
)
from stream_rnn.report.paths import position_unit
from stream_rnn.report.style import DARK, LIGHT

ROWS_OPEN = 12
"""A longer table is folded."""
MOST_COLUMNS = 4
"""Outputs that have a column of their own in a table of decoders, recordings or inputs."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
TITLES = {
    "scores": "Scores",
    "time": "Truth and prediction over time",
    "paths": "Trajectories",
    "errors": "Where it errs",
    "lag": "Lag",
    "learning": "Learning curves",
    "inputs": "What each input is worth",
    "recordings": "By recording",
    "card": "Model card",
}


def page(found: Findings, pictures: Mapping[str, list[Picture]], facts: Mapping[str, Any]) -> str:
    """The whole document.

    Args:
        found: What was measured.
        pictures: Of each section.
        facts: What a person wants to know about the model, by what it is called.
    """
    made = {
        "scores": _scores(found),
        "time": [figure(picture) for picture in pictures["time"]],
        "paths": _paths(found, pictures["paths"]),
        "errors": _errors(found, pictures["errors"]),
        "lag": _lag(found, pictures["lag"]),
        "learning": _learning(found, pictures["learning"]),
        "inputs": _inputs(found, pictures["inputs"]),
        "recordings": _recordings(found, pictures["recordings"]),
        "card": card_tables(found.model, facts),
    }
    present = {name: parts for name, parts in made.items() if parts}
    links = " ".join(f'<a href="#{name}">{escape(TITLES[name])}</a>' for name in present)
    body = "\n".join(section(name, TITLES[name], *parts) for name, parts in present.items())
    return _document(_title(found), f"{_header(found)}\n<nav>{links}</nav>\n<main>\n{body}\n</main>")


def _document(title: str, body: str) -> str:
    css = importlib.resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    css = css.replace("LIGHT", _variables(LIGHT)).replace("DARK", _variables(DARK))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _variables(palette: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())


def _title(found: Findings) -> str:
    return f"{found.recording.name}, decoded by model {found.model.hash}"


def _header(found: Findings) -> str:
    seconds = len(found.t) / found.recording.rate_hz
    many = len(found.recordings)
    of = f" of {many} recordings" if many > 1 else ""
    streamed = (
        f"{len(found.t)} {found.choice} rows{of}, {seconds:.0f} s at {found.recording.rate_hz:g} samples a "
        "second, streamed sample by sample as the daemon would, each recording from its beginning."
    )
    return (
        f"<header>\n<h1>{escape(found.recording.name)}</h1>\n{paragraph(_summary(found))}\n"
        f"{paragraph(streamed, 'note')}\n{tiles(_tiles(found))}\n</header>"
    )


def _summary(found: Findings) -> str:
    outputs = [output.name for output in found.outputs]
    shown = ", ".join(outputs[:MOST_COLUMNS]) + (", ..." if len(outputs) > MOST_COLUMNS else "")
    inputs = len(found.model.card.inputs)
    return f"Model {found.model.hash} decodes {shown} from {inputs} inputs."


def _tiles(found: Findings) -> Iterator[tuple[str, str, str]]:
    scores, told = found.scores, found.lags
    outputs = "mean of the outputs" if len(found.outputs) > 1 else found.outputs[0].name
    yield "R²", number(scores.r2_mean), outputs
    rmse = [value for value in scores.rmse.values() if value is not None]
    units = {output.unit for output in found.outputs}
    if rmse and len(units) == 1:
        value = f"{significant(float(np.mean(rmse)))} {units.pop()}".rstrip()
        yield "Error, RMSE", value, outputs
    ms = told.samples[told.best] * 1000.0 / found.recording.rate_hz
    least = "\N{GREATER-THAN OR EQUAL TO} " if told.at_edge else ""
    when = "late" if ms > 0 else "early" if ms < 0 else "neither late nor early"
    yield "Predictions come", f"{least}{number(abs(ms), 0)} ms" if ms else "in time", when
    best = found.ablation.order[0]
    lost = number(float(found.ablation.mean[best]))
    yield "Most missed input", found.model.card.inputs[best].name, f"R² falls by {lost} without it"


def _scores(found: Findings) -> list[str]:
    few = found.outputs if 1 < len(found.outputs) <= MOST_COLUMNS else ()
    headings = ["decoder", "mean R²" if few else "R²", "", *(f"R² {output.name}" for output in few)]
    rows = [
        [
            name,
            number(scores.r2_mean),
            str(scores.r2_mean),
            *(number(scores.r2.get(output.name)) for output in few),
        ]
        for name, scores in found.decoders
    ]
    parts = [table(headings, rows, ours=0, bars=2)]
    if len(found.decoders) == 1:
        parts.append(paragraph("No baseline was measured beside it.", "note"))
    scores = found.scores
    outputs = [
        [
            output.name,
            number(scores.r2[output.name]),
            f"{significant(scores.rmse[output.name])} {output.unit}".rstrip(),
            number(scores.correlation[output.name]),
        ]
        for output in found.outputs
    ]
    parts.append(_long(table(["output", "R²", "RMSE", "correlation"], outputs), outputs, "outputs"))
    return parts


def _long(made: str, rows: list[list[str]], what: str) -> str:
    return made if len(rows) <= ROWS_OPEN else folded(f"All {len(rows)} {what}", made)


def _paths(found: Findings, pictures: list[Picture]) -> list[str]:
    told = found.paths
    if not told.shown:
        return [paragraph("No stretch is long enough, or without missing truth.", "note")]
    text = {
        "velocity": "Velocity, integrated from the start of each stretch: where the hand went, and where the "
        "prediction would have put it.",
        "plane": "The first two outputs against each other.",
        "phase": "The output against its rate of change, smoothed a little.",
    }[told.kind]
    parts = [paragraph(text), *map(figure, pictures)]
    if told.kind == "velocity":
        unit = position_unit(found.outputs)
        drift, length = (f"{significant(value)} {unit}".rstrip() for value in (told.drift, told.length))
        parts.append(
            paragraph(
                f"Over all {told.total} stretches, after {told.seconds:.3g} s the two ends are {drift} apart "
                f"(median), on a way of {length}."
            )
        )
    return parts


def _errors(found: Findings, pictures: list[Picture]) -> list[str]:
    inner = "\n".join(map(figure, pictures))
    tables = [_profile_table(told) for told in found.profiles]
    numbers = f'<div class="pair">{"".join(tables)}</div>'
    return [f'<div class="pair">{inner}</div>', folded("The numbers", numbers)]


def _profile_table(told: Profile) -> str:
    turned = told.of == "direction"
    name = f"{told.output}: {told.of}" if told.output else told.of
    headings = [f"{name} ({told.unit})" if told.unit else name, "rows", "RMSE"]
    headings += ["part predicted", "median angle between"] if turned else []
    headings += ["mean truth", "mean prediction"] if told.of in {"speed", "value"} else []
    rows = []
    for b, count in enumerate(told.rows):
        cells = [_between(told, b), str(int(count)), significant(told.rmse[b])]
        cells += [number(told.gain[b], 2), f"{number(told.turned[b], 0)}°"] if turned else []
        if told.of in {"speed", "value"}:
            cells += [significant(told.truth[b]), significant(told.predicted[b])]
        rows.append(cells)
    return table(headings, rows)


def _between(told: Profile, b: int) -> str:
    if told.of == "direction":
        return f"{number(told.centres[b], 0)}°"
    last = b == len(told.rows) - 1
    low, high = significant(told.edges[b]), significant(told.edges[b + 1])
    return f"{low} and more" if last else f"{low} to {high}"


def _lag(found: Findings, pictures: list[Picture]) -> list[str]:
    told, rate_hz = found.lags, found.recording.rate_hz
    lag = int(told.samples[told.best])
    now, best = float(told.mean[told.none]), float(told.mean[told.best])
    if lag == 0:
        text = f"Predictions fit best where they are: R² {number(now)}."
    else:
        least = "at least " if told.at_edge else ""
        word, ms = ("late" if lag > 0 else "early"), abs(lag) * 1000.0 / rate_hz
        text = (
            f"Predictions come {least}{ms:.0f} ms {word}: moved by so much, R² would be {number(best)} "
            f"instead of {number(now)}."
        )
    horizon = found.model.card.horizon
    if horizon:
        text += f" The model predicts {horizon} samples ahead; the lag comes on top of that."
    inside = f"Of the {told.rows} rows far enough inside a stretch to be moved either way."
    rows = [
        [
            output.name,
            f"{number(ms, 0)} ms",
            number(float(told.r2[at, k])),
            number(float(told.r2[told.none, k])),
        ]
        for k, output in enumerate(found.outputs)
        for at in [best_of(told.r2[:, k])]
        for ms in [told.samples[at] * 1000.0 / rate_hz]
    ]
    numbers = table(["output", "best lag", "R² there", "R² now"], rows)
    beside = f"<div>{_long(numbers, rows, 'outputs')}{paragraph(inside, 'note')}</div>"
    return [paragraph(text), f'<div class="pair">{"".join(map(figure, pictures))}{beside}</div>']


def _learning(found: Findings, pictures: list[Picture]) -> list[str]:
    if found.history is None:
        return [paragraph("Not recorded in this model.", "note")]
    return list(map(figure, pictures))


def _inputs(found: Findings, pictures: list[Picture]) -> list[str]:
    told, few = found.ablation, found.outputs if 1 < len(found.outputs) <= MOST_COLUMNS else ()
    how = {
        "mean": "held at its mean of the training rows",
        "time": "replaced by its own values of another time",
    }[told.silenced]
    text = (
        f"Each input {how}, one at a time, and {told.rows} rows decoded again: how much R² is lost. Inputs "
        "that tell the same stand in for each other: little lost does not mean little known."
    )
    rows = [
        [
            found.model.card.inputs[i].name,
            number(told.mean[i]),
            *(number(told.drop[i, k]) for k in range(len(few))),
        ]
        for i in told.order
    ]
    headings = ["input", "R² lost", *(output.name for output in few)]
    return [paragraph(text), *map(figure, pictures), _long(table(headings, rows), rows, "inputs")]


def _recordings(found: Findings, pictures: list[Picture]) -> list[str]:
    if len(found.recordings) < 2:
        return []
    few = found.outputs if len(found.outputs) <= MOST_COLUMNS else ()
    headings = ["recording", "rows", "R²"]
    headings += [f"RMSE {output.name}" for output in few]
    rows = [
        [
            score.name,
            str(score.rows),
            number(float(mean_of(score.r2))),
            *(significant(score.rmse[k]) for k in range(len(few))),
        ]
        for score in best_first(found.recordings)
    ]
    return [*map(figure, pictures), _long(table(headings, rows), rows, "recordings")]
