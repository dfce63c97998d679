"""The model card on the page: what the network is, what it learned from, with which options and versions."""

from collections.abc import Mapping
from typing import Any

from stream_rnn.model.model import Model
from stream_rnn.report.markup import facts, paragraph

VERSIONS = ("stream_rnn", "numba", "numpy")
OPTION = "option_"
HISTORY = "history_"
LONGEST_LIST = 12


def card_tables(model: Model, described: Mapping[str, Any]) -> list[str]:
    """Tables of the network, of how it was made, of the options and of the versions.

    Args:
        model: The model.
        described: What a person wants to know about it, by what it is called.
    """
    told = {name: value for name, value in model.card.provenance.items() if not name.startswith(HISTORY)}
    of_network = {n: v for n, v in described.items() if n.replace(" ", "_") not in model.card.provenance}
    groups = {
        "Network": of_network,
        "How it was made": {n: v for n, v in told.items() if n not in VERSIONS and not n.startswith(OPTION)},
        "Options": {n.removeprefix(OPTION): v for n, v in told.items() if n.startswith(OPTION)},
        "Versions": {n: v for n, v in told.items() if n in VERSIONS},
    }
    parts = []
    for title, values in groups.items():
        if values:
            shown = [(name.replace("_", " "), text_of(value)) for name, value in values.items()]
            parts.append(f"<div><h3>{title}</h3>{facts(shown)}</div>")
    parts = [f'<div class="pair">{"".join(parts)}</div>']
    if not told:
        parts.append(paragraph("How it was made is not recorded in this model.", "note"))
    return parts


def text_of(value: object) -> str:
    """A value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(map(text_of, value[:LONGEST_LIST]))
        more = len(value) - LONGEST_LIST
        return f"{shown}, and {more} more" if more > 0 else shown
    return str(value)
