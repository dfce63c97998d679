#!/usr/bin/env python3
"""Writes docs/cli.md, config.md, metrics.md from parsers, config and metrics; `--check` only compares."""

import argparse
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as types

from stream_rnn.cli import COMMANDS, build_parser
from stream_rnn.config.load import PREFIX
from stream_rnn.config.sections import Config
from stream_rnn.latency.stages import STAGES
from stream_rnn.operations.exposition import EDGES_S, INFORMATION, LATENCY, METRICS
from stream_rnn.operations.exposition import PREFIX as METRICS_PREFIX

ROOT = Path(__file__).parents[1]
MADE = "<!-- Made by tools/docs.py: change the source and run it again. -->"
WIDTH = "88"

CLI_INTRO = """\
Every command explains itself with `--help`; this page is what they say."""

CONFIG_INTRO = """\
A TOML file, one table for each section below. A flag of the command line goes before the environment, that
before the file, that before the default. The environment's name of a key is `{prefix}SECTION__KEY`, as in
`{example}`. An unknown section or key is an error.

*required*: there is no default. *none*: not set."""


METRICS_INTRO = """\
What `/metrics` tells, where the config has a section [http]. Counters are since the start; a reload that
changes a way in or the groups begins its own anew, which `rate()` and `increase()` know how to read. Latency
is told up to the last message on `<base>/<node>/metrics`. Those of the process (`process_*`, `python_info`)
are the ones every Python program has.

Scraping reads what is counted anyway, between two samples; the text is written in a thread."""


class SameEverywhere(argparse.HelpFormatter):
    """Help that every Python writes alike: `-o, --out FILE` as 3.13 does, not `-o FILE, --out FILE`."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {metavar}"


def cli_page(parser: argparse.ArgumentParser, commands: Mapping[str, str]) -> str:
    """The page of the command line.

    Args:
        parser: The whole command line.
        commands: What each command is for, by name.

    Raises:
        ValueError: `commands` and the parser's commands differ.
    """
    parsers = subparsers(parser)
    if list(parsers) != list(commands):
        raise ValueError(f"expected a parser for each of {list(commands)}, got {list(parsers)}")
    parts = [MADE, "# Command line", CLI_INTRO, fenced(help_of(parser))]
    for name, summary in commands.items():
        parts += [f"## {parser.prog} {name}", sentence(summary), fenced(help_of(parsers[name]))]
    return "\n\n".join(parts) + "\n"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by name."""
    for action in parser._actions:  # noqa: SLF001 - argparse shows its subparsers nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            return dict(action.choices)
    return {}


def help_of(parser: argparse.ArgumentParser) -> str:
    """The parser's help at a fixed width, without colour, whatever the terminal and the Python."""
    formatter: Any = parser.formatter_class
    fixed: Any = type("Fixed", (SameEverywhere, formatter), {})
    before = dict(os.environ)
    os.environ |= {"COLUMNS": WIDTH, "NO_COLOR": "1"}
    parser.formatter_class = fixed
    try:
        return parser.format_help()
    finally:
        parser.formatter_class = formatter
        os.environ.clear()
        os.environ.update(before)


def fenced(text: str) -> str:
    """A block that is shown as it stands."""
    return "```text\n" + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n```"


def config_page(config: type[msgspec.Struct], prefix: str) -> str:
    """The page of the config.

    Args:
        config: A struct whose fields are the sections.
        prefix: What names in the environment begin with.

    Raises:
        ValueError: A key without a meaning: the struct's `Attributes:` do not name it.
    """
    found = list(sections(config))
    name, section = found[0]
    example = f"{prefix}{name}__{msgspec.structs.fields(section)[0].name}".upper()
    parts = [MADE, "# Config", summary_of(config), CONFIG_INTRO.format(prefix=prefix, example=example)]
    for name, section in found:
        parts += [f"## [{name}]", summary_of(section), table(section)]
    return "\n\n".join(parts) + "\n"


def sections(config: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Each section of a config with its struct, optional or not."""
    info = types.type_info(config)
    assert isinstance(info, types.StructType)
    for field in info.fields:
        members = field.type.types if isinstance(field.type, types.UnionType) else (field.type,)
        for member in members:
            if isinstance(member, types.StructType):
                yield field.name, member.cls


def table(section: type[msgspec.Struct]) -> str:
    """One row for each key of a section."""
    info = types.type_info(section)
    assert isinstance(info, types.StructType)
    meanings = attributes(section)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in info.fields:
        if not meanings.get(field.name):
            raise ValueError(f"{section.__name__}.{field.name}: expected a line under Attributes, got none")
        cells = (f"`{field.name}`", type_name(field.type), default(field), meanings[field.name])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def summary_of(section: type[msgspec.Struct]) -> str:
    """What the docstring says before its first headed part."""
    return re.split(r"\n\n\w+:\n", inspect.cleandoc(section.__doc__ or ""))[0].strip()


def attributes(section: type[msgspec.Struct]) -> dict[str, str]:
    """The meaning of each field: the `Attributes:` of the struct and of those it inherits from."""
    meanings: dict[str, str] = {}
    for owner in reversed(section.__mro__):
        meanings |= _attributes(inspect.cleandoc(owner.__dict__.get("__doc__") or ""))
    return meanings


def _attributes(doc: str) -> dict[str, str]:
    _, _, rest = doc.partition("Attributes:\n")
    body = re.split(r"\n(?=\S)", rest)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}\S.*|\n(?=\n {5,}))*)", body, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


WORDS = {
    types.BoolType: "true or false",
    types.IntType: "integer",
    types.FloatType: "number",
    types.StrType: "text",
    types.DictType: "table",
    types.StructType: "table",
}


def type_name(kind: types.Type) -> str:
    """A type in the words of a person who writes TOML, with its bounds."""
    match kind:
        case types.Metadata(type=inner):
            name = type_name(inner)
        case types.UnionType(types=members):
            name = " or ".join(type_name(m) for m in members if not isinstance(m, types.NoneType))
        case types.LiteralType(values=values):
            name = ", ".join(f"`{value(v)}`" for v in values)
        case types.EnumType(cls=cls):
            name = ", ".join(f"`{value(member.value)}`" for member in cls)
        case (
            types.ListType(item_type=item)
            | types.VarTupleType(item_type=item)
            | types.SetType(item_type=item)
        ):
            name = f"list of {type_name(item)}"
        case types.TupleType(item_types=items):
            name = f"list of {', '.join(type_name(item) for item in items)}"
        case types.CustomType(cls=cls):
            name = "path" if issubclass(cls, Path) else cls.__name__
        case types.IntType() | types.FloatType():
            name = WORDS[type(kind)] + bounds(kind)
        case _:
            name = WORDS.get(type(kind), "any value")
    return name


def bounds(kind: types.IntType | types.FloatType) -> str:
    """` >= 1, <= 65535`, or nothing."""
    limits = ((">", kind.gt), (">=", kind.ge), ("<", kind.lt), ("<=", kind.le))
    said = ", ".join(f"{sign} {value(limit)}" for sign, limit in limits if limit is not None)
    return f" {said}" if said else ""


def default(field: types.Field) -> str:
    """A field's default as TOML writes it."""
    if field.required:
        return "*required*"
    made = field.default_factory is not msgspec.NODEFAULT
    content = field.default_factory() if made else field.default
    return "*none*" if content is None else f"`{value(content)}`"


def value(content: Any) -> str:  # noqa: ANN401 - whatever a config may hold
    """A value as TOML writes it: as JSON does, for what has no keys."""
    if isinstance(content, float) and content.is_integer() and abs(content) < 1e15:
        return str(int(content))
    return json.dumps(msgspec.to_builtins(content, enc_hook=str), ensure_ascii=False)


def sentence(text: str) -> str:
    """A summary as a sentence."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def pages() -> dict[Path, str]:
    """Every page that is made, as it is to be."""
    return {
        ROOT / "docs" / "cli.md": cli_page(build_parser(), COMMANDS),
        ROOT / "docs" / "config.md": config_page(Config, PREFIX),
        ROOT / "docs" / "metrics.md": metrics_page(),
    }


def metrics_page() -> str:
    """The page of what Prometheus reads."""
    rows = ["| name | kind | labels | meaning |", "|---|---|---|---|"]
    for m in METRICS:
        name = METRICS_PREFIX + m.name + ("_total" if m.kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in m.labels)
        rows.append(f"| `{name}` | {m.kind} | {labels} | {m.help} |")
    rows.append(f"| `{LATENCY}` | histogram | `group`, `stage` | Time a sample takes; see below. |")
    rows += [f"| `{METRICS_PREFIX}{n}_info` | info | | {text} |" for n, text in INFORMATION.items()]
    stages = ["| stage | spans |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in STAGES.items())]
    edges = f"Buckets end at {', '.join(f'{edge:g}' for edge in EDGES_S)} seconds; they never change."
    parts = [MADE, "# Metrics", METRICS_INTRO, "\n".join(rows), "## Latency", "\n".join(stages), edges]
    return "\n\n".join(parts) + "\n"


def stale(wanted: Mapping[Path, str]) -> list[Path]:
    """Pages that are absent or say something else."""
    return [p for p, text in wanted.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]


def main(argv: list[str]) -> int:
    """Write the stale pages, or name them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check: bool = parser.parse_args(argv).check
    wanted = pages()
    old = stale(wanted)
    for page in old:
        name = page.relative_to(ROOT)
        if check:
            print(f"{name}: stale; run tools/docs.py", file=sys.stderr)
            continue
        page.parent.mkdir(exist_ok=True)
        page.write_text(wanted[page], encoding="utf-8")
        print(f"{name}: written")
    return int(check and bool(old))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
