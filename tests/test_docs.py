"""The reference pages are made from the parsers and the config, and say what these say."""

import argparse
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import msgspec
import pytest


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs", Path(__file__).parents[1] / "tools" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = load_tool()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait.

    Attributes:
        size: Messages that wait;
            one line more.
        policy: `block | drop`.
    """

    size: Annotated[int, msgspec.Meta(ge=1, le=9)] = 4
    policy: Literal["block", "drop"] = "block"


class Inbox(Limits, frozen=True, kw_only=True):
    """What happens when samples come too fast.

    Nothing is lost.

    Attributes:
        wait_s: How long.
        names: Whose.
        path: Where to.

    Raises:
        Nothing: at all.
    """

    wait_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    names: list[str] = []
    path: str


class Silent(msgspec.Struct):
    """Says nothing of its key."""

    size: int = 1


class Config(msgspec.Struct):
    """Everything."""

    inbox: Inbox
    limits: Limits | None = None


class SilentConfig(msgspec.Struct):
    """Everything."""

    silent: Silent


def stand_in() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tool", description="A tool.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    run = commands.add_parser("run", help="go")
    run.add_argument("model", help="what to run")
    run.add_argument("-o", "--out", metavar="FILE", help="where to write " + "and why " * 12)
    commands.add_parser("stop", help="end")
    return parser


COMMANDS = {"run": "go", "stop": "end"}


def test_every_command_has_its_help_in_a_section() -> None:
    page = docs.cli_page(stand_in(), COMMANDS)
    assert "\n## tool run\n\nGo.\n\n```text\nusage: tool run [-h] [-o FILE] model\n" in page
    assert "\n## tool stop\n\nEnd.\n" in page


def test_an_option_is_written_the_same_by_every_python() -> None:
    assert "\n  -o, --out FILE  where to write" in docs.cli_page(stand_in(), COMMANDS)


def test_help_ignores_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = set()
    for columns in ("30", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        pages.add(docs.cli_page(stand_in(), COMMANDS))
        assert os.environ["COLUMNS"] == columns
    (page,) = pages
    assert max(map(len, page.splitlines())) <= 88


def test_a_command_without_a_parser_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected a parser for each of \['run'\], got \['run', 'stop'\]$"):
        docs.cli_page(stand_in(), {"run": "go"})


def test_every_section_has_a_table_of_its_keys() -> None:
    page = docs.config_page(Config, "TOOL_")
    assert (
        "\n## [inbox]\n\nWhat happens when samples come too fast.\n\nNothing is lost.\n\n| key | type |"
        in page
    )
    assert "\n## [limits]\n\nWhat may wait.\n" in page


@pytest.mark.parametrize(
    "row",
    [
        "| `size` | integer >= 1, <= 9 | `4` | Messages that wait; one line more. |",
        '| `policy` | `"block"`, `"drop"` | `"block"` | `block \\| drop`. |',
        "| `wait_s` | number > 0 | *none* | How long. |",
        "| `names` | list of text | `[]` | Whose. |",
        "| `path` | text | *required* | Where to. |",
    ],
)
def test_a_row_gives_type_default_and_meaning(row: str) -> None:
    assert row in docs.table(Inbox).splitlines()


def test_the_page_gives_the_name_of_a_key_in_the_environment() -> None:
    page = docs.config_page(Config, "TOOL_")
    assert "`TOOL_SECTION__KEY`, as in\n`TOOL_INBOX__SIZE`." in page


def test_a_key_without_a_meaning_is_refused() -> None:
    message = r"^Silent\.size: expected a line under Attributes, got none$"
    with pytest.raises(ValueError, match=message):
        docs.config_page(SilentConfig, "TOOL_")


def test_check_names_an_absent_and_an_old_page(tmp_path: Path) -> None:
    fresh, old, absent = (tmp_path / name for name in ("fresh.md", "old.md", "absent.md"))
    fresh.write_text("new")
    old.write_text("old")
    assert docs.stale({fresh: "new", old: "new", absent: "new"}) == [old, absent]


def test_main_writes_what_check_then_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "pages", lambda: {tmp_path / "docs" / "cli.md": "new"})
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/cli.md: stale; run tools/docs.py\n"
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    assert capsys.readouterr().out == "docs/cli.md: written\n"
