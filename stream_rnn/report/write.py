"""Writes a report into a folder: the page, and beside it each figure as a PNG. The same bytes each time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stream_rnn.errors import ConfigError
from stream_rnn.report.findings import Findings
from stream_rnn.report.page import page
from stream_rnn.report.pictures import pictures_of
from stream_rnn.report.style import check_can_draw

PAGE = "index.html"


class Written(NamedTuple):
    """What was written: the page, its size, and how many figures lie beside it."""

    page: Path
    bytes: int
    figures: int


def check_can_write(folder: Path) -> None:
    """Find out before the work whether there can be a report; makes the folder.

    Raises:
        ConfigError: There is no matplotlib, or no such place.
    """
    check_can_draw()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{PAGE}.part"
        part.touch()
        part.unlink()
    except OSError as error:
        raise _no_place(folder, error) from None


def write_report(found: Findings, facts: Mapping[str, Any], folder: Path) -> Written:
    """Draw, and write.

    Args:
        found: What was measured.
        facts: What a person wants to know about the model, by what it is called.
        folder: Where to; files of the same names are replaced.

    Raises:
        ConfigError: There is no matplotlib, or no such place.
    """
    pictures = pictures_of(found)
    document = page(found, pictures, facts).encode()
    drawn = [picture for some in pictures.values() for picture in some]
    path = folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
        path.write_bytes(document)
    except OSError as error:
        raise _no_place(folder, error) from None
    return Written(path, len(document), len(drawn))


def _no_place(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{folder}: expected a place to write the report, got {error.strerror}")
