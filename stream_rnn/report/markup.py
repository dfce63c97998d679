"""HTML from values: every text is escaped here, so no name of a channel or a file becomes markup."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """A figure on the page.

    Attributes:
        name: Of its PNG, without the ending.
        svg: As an element.
        png: As a file.
        alt: What is to be seen, for who does not see it.
        caption: How to read it.
        wide: Whether it takes the whole width.
    """

    name: str
    svg: str
    png: bytes
    alt: str
    caption: str
    wide: bool


def number(value: float | None, digits: int = 3) -> str:
    """With a true minus sign; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    text = f"{value:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("-")


def significant(value: float | None) -> str:
    """To three digits that mean something."""
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    size = abs(value)
    if size < 5e-4:
        return "0" if size == 0 else f"{value:.1e}".replace("-", "\N{MINUS SIGN}")
    return number(value, 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3)


def figure(picture: Picture) -> str:
    """A picture with its caption, told to who cannot see it."""
    svg = picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.alt)}" ', 1)
    inner = f'<div class="scroll wide">{svg}</div>' if picture.wide else svg
    return f"<figure>{inner}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def paragraph(text: str, css: str = "") -> str:
    """A paragraph."""
    return f'<p class="{css}">{escape(text)}</p>' if css else f"<p>{escape(text)}</p>"


def section(name: str, title: str, *parts: str) -> str:
    """A section under a heading of the second level."""
    return f'<section id="{name}" aria-labelledby="{name}-title">\n' + "\n".join(
        [f'<h2 id="{name}-title">{escape(title)}</h2>', *filter(None, parts), "</section>"]
    )


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    ours: int | None = None,
    bars: int | None = None,
) -> str:
    """A table; the first cell of a row names it.

    Args:
        headings: Of the columns.
        rows: Texts.
        ours: Index of the row that is set off.
        bars: Index of the column of shares from 0 to 1 that are drawn as bars, too.
    """
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = []
    for index, (name, *cells) in enumerate(rows):
        told = [_bar(cell) if at == bars else escape(cell) for at, cell in enumerate(cells, start=1)]
        css = ' class="ours"' if index == ours else ""
        columns = "".join(f"<td>{cell}</td>" for cell in told)
        body.append(f'<tr{css}><th scope="row">{escape(name)}</th>{columns}</tr>')
    inner = "\n".join(body)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{inner}</tbody></table></div>'


def _bar(cell: str) -> str:
    try:
        share = min(1.0, max(0.0, float(cell)))
    except ValueError:  # a dash, or below zero: no bar
        share = 0.0
    return f'<span class="track"><span class="bar" style="width:{100 * share:.1f}%"></span></span>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, two columns."""
    inner = "\n".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows)
    return f'<table class="facts"><tbody>{inner}</tbody></table>'


def folded(summary: str, inner: str) -> str:
    """What is there to be opened."""
    return f"<details><summary>{escape(summary)}</summary>\n{inner}</details>"


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: what, value, and a line that says more."""
    inner = "\n".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for what, value, more in values
    )
    return f'<dl class="tiles">\n{inner}\n</dl>'
