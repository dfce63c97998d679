"""How figures look, and how one becomes a part of the page: an SVG whose colours are the page's own.

A figure is drawn once, in the light palette. In the SVG every colour of it becomes the page's variable of
that role, so it follows the page into the dark; the PNG keeps the light one. Colours after Okabe & Ito
(2008), which the colour-blind tell apart.
"""

import importlib
import io
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from stream_rnn.errors import ConfigError

Figure: TypeAlias = Any
"""matplotlib's: it is optional, and its types are not there to be checked."""
Axes: TypeAlias = Any

LIGHT = {
    "ink": "#1c2530",
    "muted": "#5b6773",
    "rule": "#b6bec7",
    "grid": "#e3e7eb",
    "surface": "#fefefe",
    "truth": "#8a939d",
    "model": "#0072b2",
    "second": "#d55e00",
    "third": "#009e73",
    "fourth": "#a8528c",
}
DARK = {
    "ink": "#e6e9ed",
    "muted": "#9ba6b2",
    "rule": "#4a545f",
    "grid": "#2a323b",
    "surface": "#12171d",
    "truth": "#8d98a4",
    "model": "#56b4e9",
    "second": "#f08c4b",
    "third": "#2fc79b",
    "fourth": "#d889bb",
}
INK, MUTED, RULE, GRID, SURFACE, TRUTH, MODEL, SECOND, THIRD, FOURTH = LIGHT.values()
SERIES = (MODEL, SECOND, THIRD, FOURTH)
MARKERS = ("o", "s", "^", "D")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # letters as letters: small, found by a search, read aloud
    "svg.hashsalt": "stream-rnn",
    "text.parse_math": False,  # a channel may be called $1
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same PNG everywhere
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "figure.facecolor": SURFACE,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.solid_joinstyle": "round",
    "path.simplify_threshold": 0.2,
    "axes.unicode_minus": True,
}
PNG_DPI = 160
WIDE, HALF = 9.0, 4.4
"""Widths of figures, in inches."""

_ID = re.compile(r'\sid="([^"]*)"')
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_ROLES = {value: f"var(--{name})" for name, value in LIGHT.items()}


class Drawn(NamedTuple):
    """One figure.

    Attributes:
        svg: To be put into a page as it is.
        png: A file's bytes.
    """

    svg: str
    png: bytes


def check_can_draw() -> None:
    """Refuse where there is nothing to draw with, before any work.

    Raises:
        ConfigError: There is no matplotlib.
    """
    _module("matplotlib")


def draw(name: str, fill: Callable[[Figure], None], width: float, height: float) -> Drawn:
    """Draw one figure, the same bytes each time.

    Args:
        name: Goes before every id in it, so that figures of one page do not take each other's.
        fill: Draws on an empty figure.
        width: In inches.
        height: In inches.

    Raises:
        ConfigError: There is no matplotlib.
    """
    matplotlib, drawing = _module("matplotlib"), _module("matplotlib.figure")
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # the page has fonts that have it
        figure = drawing.Figure(figsize=(width, height), layout="constrained")
        fill(figure)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout is the PNG's: half the time
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Drawn(for_page(svg.getvalue().decode(), name), png.getvalue())


def for_page(svg: str, name: str) -> str:
    """An SVG file as an element of a page: no header, no names of others, its colours those of the page.

    Args:
        svg: As matplotlib wrote it.
        name: Of the figure.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    body = f"<svg {box[0] if box else ''}>{rest}".replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: ((?:\w+ )*)([\d.]+)px [^;\"]*", _font, body)
    body = re.sub(r"; font-family: [^;\"]*", "", body)
    body = _COLOUR.sub(lambda found: _ROLES.get(found[0], found[0]), body)
    return re.sub(r"\n\s*", "\n", body).strip()


def _font(found: re.Match[str]) -> str:
    """The size alone, and bold where it is: the letters are the page's."""
    bold = "; font-weight: 600" if "700" in found[1] or "bold" in found[1] else ""
    return f"font-size: {found[2]}px{bold}"


def _module(name: str) -> Any:  # noqa: ANN401 - matplotlib is optional
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            "report: expected matplotlib to draw with, got none: pip install 'stream-rnn[report]'"
        ) from None
