"""The shape of the package, held by its source text: who imports whom, what is pure, who prints.

The table is the one of docs/design.md. A row imports only from rows below it; the rooms of one row do not
import each other.
"""

import ast
import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "stream_rnn"

ROWS = (
    ("__main__",),
    ("cli",),
    ("report",),
    ("daemon", "training", "doctor"),
    ("__init__",),  # what a user imports: it only shows what the rooms below have
    ("recordings", "operations", "state"),
    ("config", "environment", "inbox"),
    ("session", "transports", "wire", "latency"),
    ("predictor",),
    ("stepper",),
    ("memory",),
    ("model",),
    ("preprocess",),
    ("features", "interval"),
    ("kernels",),
    ("sample", "errors", "demo"),
)
UNDRAWN = {"__main__", "__init__", "demo"}  # two names of Python's, and a file's path
HEIGHT = {room: -row for row, rooms in enumerate(ROWS) for room in rooms}

PURE = {
    "kernels",
    "features",
    "interval",
    "model",
    "memory",
    "preprocess",
    "predictor",
    "session",
    "stepper",
    "wire",
    "latency",
    "inbox",
}
IMPURE_MODULES = {"asyncio", "socket", "time", "random", "logging", "os", "threading"}
KERNELS_IMPORT = {"numba", "numpy", "math"}
VECTORS_IMPORT = KERNELS_IMPORT | {"llvmlite", "operator", "pathlib", "functools"}
"""What speaks to the compiler and its cache: `kernels/_*.py`."""
TYPES_COME_FROM = {"typing", "collections", f"{PACKAGE}.sample"}
MOST_LINES = 350
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}

# In brackets, so that this file does not match itself.
REGISTRY = re.compile(
    r"(?:pypi|anaconda|npmjs|yarnpkg|crates|quay|ghcr|docker|gcr)[.](?:org|io|com)\b|pythonhosted[.]org"
)
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home|Users)/")


class Import(NamedTuple):
    """One name that one line imports: `stream_rnn.sample.F32`, or `numpy`."""

    line: int
    name: str

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def room(self) -> str:
        """The room of the package it comes from; `__init__` for a name of the package itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 and parts[1] in HEIGHT else "__init__"


class Module(NamedTuple):
    """One source file of the package."""

    path: str
    source: str

    @property
    def room(self) -> str:
        return Path(self.path).with_suffix("").parts[1]

    @property
    def tree(self) -> ast.Module:
        return _parse(self.source, self.path)

    @property
    def imports(self) -> Iterator[Import]:
        folder = Path(self.path).parent.parts
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(node.lineno, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = folder[: len(folder) - node.level + 1] if node.level else ()
                module = ".".join((*base, *filter(None, [node.module])))
                yield from (Import(node.lineno, f"{module}.{name.name}") for name in node.names)


@functools.cache
def _parse(source: str, path: str) -> ast.Module:
    return ast.parse(source, path)


@functools.cache
def modules() -> tuple[Module, ...]:
    found = sorted((ROOT / PACKAGE).rglob("*.py"))
    assert found, f"no source in {ROOT / PACKAGE}"
    return tuple(Module(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in found)


def misplaced(module: Module) -> Iterator[str]:
    """Imports of this module that the table forbids."""
    for found in module.imports:
        if found.top != PACKAGE or found.room == module.room:
            continue
        where = f"{module.path}:{found.line}: {module.room} imports {found.name}"
        if found.room == "__init__":
            if found.name != f"{PACKAGE}.__version__":
                yield f"{where}; expected the room it lives in"
        elif module.room in HEIGHT and HEIGHT[found.room] >= HEIGHT[module.room]:
            stands = "beside" if HEIGHT[found.room] == HEIGHT[module.room] else "above"
            yield f"{where}; {found.room} stands {stands} {module.room}"


def fail_for(violations: Iterator[str]) -> None:
    lines = list(violations)
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_rows_import_only_from_rows_below() -> None:
    fail_for(line for module in modules() for line in misplaced(module))


def test_the_table_and_the_pure_rooms_are_those_of_the_design() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    drawn = [row for rooms in ROWS if (row := " | ".join(r for r in rooms if r not in UNDRAWN))]
    assert "```\n" + "\n".join(drawn) + "\n```" in design
    pure = re.search(r"^`([a-z, ]+)` are pure: ([a-z,\s]+)\.", design, re.MULTILINE)
    assert pure is not None
    assert set(pure[1].split(", ")) == PURE
    assert set(re.findall(r"\w+", pure[2])) - {"no"} == IMPURE_MODULES


def test_every_room_stands_in_the_table() -> None:
    fail_for(f"{m.path}: {m.room!r} stands in no row" for m in modules() if m.room not in HEIGHT)


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("stream_rnn/model/file.py", "import stream_rnn.daemon", "daemon stands above model"),
        ("stream_rnn/wire/json.py", "from stream_rnn import session", "session stands beside wire"),
        ("stream_rnn/wire/json.py", "def f():\n    from ..cli.run import run", "cli stands above wire"),
        ("stream_rnn/wire/json.py", "from stream_rnn import Predictor", "expected the room it lives in"),
    ],
)
def test_table_sees_every_form_of_import(path: str, source: str, expected: str) -> None:
    (line,) = misplaced(Module(path, source))
    assert line.endswith(expected)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("stream_rnn/wire/json.py", "from .fields import WireSample"),
        ("stream_rnn/wire/json.py", "from stream_rnn.sample import Sample"),
        ("stream_rnn/cli/run.py", "import stream_rnn.daemon, asyncio"),
        ("stream_rnn/daemon.py", "from stream_rnn import __version__"),
    ],
)
def test_table_lets_a_row_import_what_is_below(path: str, source: str) -> None:
    assert list(misplaced(Module(path, source))) == []


def test_pure_rooms_know_no_clock_no_chance_and_no_system() -> None:
    fail_for(
        f"{module.path}:{found.line}: {module.room} is pure, and imports {found.top}"
        for module in modules()
        if module.room in PURE
        for found in module.imports
        if found.top in IMPURE_MODULES
    )


def test_kernels_import_numba_numpy_and_math_only() -> None:
    ours = TYPES_COME_FROM | {f"{PACKAGE}.kernels"}
    fail_for(
        f"{module.path}:{found.line}: a kernel imports {found.name}"
        for module in modules()
        if module.room == "kernels"
        for allowed in [ours | (VECTORS_IMPORT if Path(module.path).name.startswith("_") else KERNELS_IMPORT)]
        for found in module.imports
        if found.top not in allowed and f"{found.top}.{found.room}" not in allowed
    )


def test_transports_know_no_numpy() -> None:
    fail_for(
        f"{module.path}:{found.line}: a transport moves bytes, and imports {found.name}"
        for module in modules()
        if module.room == "transports"
        for found in module.imports
        if found.top in {"numpy", "numba"} or (found.top == PACKAGE and found.room in {"model", "predictor"})
    )


def test_the_package_imports_no_tools_and_no_tests() -> None:
    fail_for(
        f"{module.path}:{found.line}: imports {found.name}"
        for module in modules()
        for found in module.imports
        if found.top in {"tools", "bench", "tests", "conftest"}
    )


def test_only_the_command_line_prints() -> None:
    fail_for(
        f"{module.path}:{node.lineno}: {module.room} prints"
        for module in modules()
        if module.room != "cli"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"print", "pprint"}
    )


def test_every_module_opens_with_what_it_does() -> None:
    fail_for(
        f"{module.path}:1: expected a docstring with a first line"
        for module in modules()
        if not (ast.get_docstring(module.tree, clean=False) or "").split("\n")[0].strip()
    )


def test_every_module_stays_small() -> None:
    fail_for(
        f"{module.path}: expected fewer than {MOST_LINES} lines, got {lines}"
        for module in modules()
        if (lines := len(module.source.splitlines())) >= MOST_LINES
    )


def test_every_file_is_named_after_what_it_does() -> None:
    fail_for(
        f"{module.path}: {word!r} says nothing"
        for module in modules()
        for part in Path(module.path).with_suffix("").parts
        for word in part.split("_")
        if word in EMPTY_NAMES
    )


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Files that git has or would take."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    # A clone may belong to another user than the one who tests it.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(path for name in sorted(set(listed.split("\0")) - {""}) if (path := ROOT / name).is_file())


def lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if pattern.search(text) is None:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if found := pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: names {found.group()}"


def test_no_file_names_a_package_registry() -> None:
    fail_for(lines_with(REGISTRY))


def test_no_file_names_a_path_of_one_machine() -> None:
    fail_for(lines_with(MACHINE_PATH))
