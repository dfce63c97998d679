"""Each row of docs/faults.md names the test that shows it, and each file of this folder has its rows."""

import re
from collections.abc import Iterable
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
CLAIM = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def claims(files: Iterable[Path]) -> set[str]:
    """Names of the tests in these files."""
    return {name for file in files for name in CLAIM.findall(file.read_text(encoding="utf-8"))}


def rows() -> list[list[str]]:
    """Cells of every row, the heads of the tables left out."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "| test |" not in line]


def test_every_row_names_a_test_that_there_is() -> None:
    known = claims(TESTS.rglob("test_*.py"))
    assert len(rows()) > 30
    for row in rows():
        assert len(row) == 4
        assert row[3].strip("`") in known, row


def test_every_file_of_this_folder_has_a_row() -> None:
    named = {row[3].strip("`") for row in rows()}
    files = [file for file in Path(__file__).parent.glob("test_*.py") if file.name != Path(__file__).name]
    assert files
    assert [file.name for file in files if not named & claims([file])] == []
