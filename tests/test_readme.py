"""What README.md and docs/*.md show works: Python runs, command lines parse, and what is marked runs too.

- A block tagged `python` is executed in an empty folder; the blocks of one page share their names. What
  cannot stand alone is tagged `py`.
- In a `console` block, each line after `$ ` is a command line; in a `sh` block, each line that begins with
  `stream-rnn` is. Those of stream-rnn must parse, and scripts they name must exist.
- A `console` block under the comment `<!-- runs -->` is executed in an empty folder, and must end well.
"""

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stream_rnn.cli import build_parser

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TIMEOUT_S = 60

BLOCK = re.compile(
    r"^(?P<runs><!-- runs -->\n\n?)?^(?P<fence>```+)(?P<tag>\w*)[^\n]*\n(?P<text>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
ANY_FENCE = re.compile(r"^```", re.MULTILINE)
SEPARATORS = {"|", "||", "&", "&&", ";"}
REDIRECTIONS = {">", ">>", "<", ">&", "&>"}
DESCRIPTOR = re.compile(r"(?<=\s)\d(?=[<>])")  # the 2 of 2>
ASSIGNMENT = re.compile(r"^\w+=")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


class Block(NamedTuple):
    """One fenced block of a page, and the line of its first line."""

    tag: str
    line: int
    text: str
    runs: bool


def blocks(markdown: str) -> Iterator[Block]:
    for found in BLOCK.finditer(markdown):
        line = markdown.count("\n", 0, found.start("text")) + 1
        yield Block(found["tag"], line, found["text"], found["runs"] is not None)


def blocks_of(page: Path) -> list[Block]:
    return list(blocks(page.read_text(encoding="utf-8"))) if page.is_file() else []


def command_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Each command line of a block with its line on the page; continued lines are one."""
    prompt = {"console": "$ ", "sh": "stream-rnn"}.get(block.tag)
    if prompt is None:
        return
    lines = iter(enumerate(block.text.splitlines(), start=block.line))
    for number, first in lines:
        if not first.startswith(prompt):
            continue
        line = first.removeprefix("$ ")
        while line.endswith("\\"):
            line = line[:-1] + next(lines)[1].removeprefix("> ")
        yield number, line


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each program that a command line starts, without redirections and assignments."""
    lexer = shlex.shlex(DESCRIPTOR.sub("", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    tokens = iter(lexer)
    for token in tokens:
        if token in SEPARATORS:
            yield words
            words = []
        elif token in REDIRECTIONS:
            next(tokens, None)
        elif words or not ASSIGNMENT.match(token):
            words.append(token)
    yield words


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Why this program would not start as shown; nothing when it would."""
    if words[:1] == ["stream-rnn"]:
        return parse_error(words[1:], capsys)
    if words[1:3] == ["-m", "stream_rnn"]:
        return parse_error(words[3:], capsys)
    script = words[1] if len(words) > 1 and re.fullmatch(r"python[\d.]*", words[0]) else "".join(words[:1])
    ours = "/" in script.removeprefix("./") and not script.startswith(("/", "~", "$", ".venv/"))
    return f"{script}: no such file" if ours and not (ROOT / script).is_file() else ""


def parse_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        build_parser().parse_args(arguments)
    except SystemExit as end:
        said = capsys.readouterr()  # the help, which --help prints, is not shown
        return said.err.strip().splitlines()[-1] if end.code else ""
    return ""


def run_console(script: str, folder: Path) -> str:
    """Run command lines as bash would. Returns nothing, or what went wrong."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    with (
        tempfile.TemporaryFile("w+") as output,  # a pipe would wait for what runs in the background
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"not done within {TIMEOUT_S} s"
        finally:
            stop_group(process.pid)
        output.seek(0)
        return f"exit code {code}\n{output.read()}" if code else ""


def stop_group(leader: int) -> None:
    """End what the block left running, so that nobody waits for it."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_readme_is_there() -> None:
    assert README.is_file(), "README.md: absent"


@each_page
def test_every_fence_is_closed(page: Path) -> None:
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    left = ANY_FENCE.search(BLOCK.sub(lambda found: "\n" * found.group().count("\n"), text))
    line = text.count("\n", 0, left.start()) + 1 if left else 0
    assert left is None, f"{page.name}: the fence in line {line} is not closed"


@each_page
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.tag == "python":
            source = "\n" * (block.line - 1) + block.text  # a traceback then names the line of the page
            exec(compile(source, str(page), "exec"), names)  # noqa: S102 - this is what the test is for


@each_page
def test_command_lines_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [
        f"{page.name}:{number}: {line}: {said}"
        for block in blocks_of(page)
        for number, line in command_lines(block)
        for words in simple_commands(line)
        if (said := complaint(words, capsys))
    ]
    assert not wrong, "\n".join(wrong)


@each_page
def test_marked_console_blocks_run(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(b for b in blocks_of(page) if b.runs):
        folder = tmp_path / str(number)
        folder.mkdir()
        script = "\n".join(line for _, line in command_lines(block))
        assert script, f"{page.name}:{block.line}: marked to run, and has no line that begins with `$ `"
        wrong = run_console(script, folder)
        assert not wrong, f"{page.name}:{block.line}: {wrong}"


PAGE = """\
Text.

<!-- runs -->
```console
$ A_B=1 stream-rnn run a.toml \\
>     --set 'a.b=c d' 2> log | cat  # why
12:00 said
$ stream-rnn watch &
```

```sh
stream-rnn info x
cd there
```
"""


def test_blocks_know_their_tag_line_and_mark() -> None:
    assert [(b.tag, b.line, b.runs) for b in blocks(PAGE)] == [("console", 5, True), ("sh", 12, False)]


def test_command_lines_are_joined_and_split_into_programs() -> None:
    found = [(n, list(simple_commands(line))) for block in blocks(PAGE) for n, line in command_lines(block)]
    assert found == [
        (5, [["stream-rnn", "run", "a.toml", "--set", "a.b=c d"], ["cat"]]),
        (8, [["stream-rnn", "watch"], []]),
        (12, [["stream-rnn", "info", "x"]]),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["./tools/no-such-tool"], "./tools/no-such-tool: no such file"),
        (["python", "bench/no_such.py"], "bench/no_such.py: no such file"),
        (["./tools/test", "-k", "foo"], ""),
        (["mosquitto_pub", "-t", "a/b"], ""),
        ([], ""),
    ],
)
def test_a_script_that_is_named_exists(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaint(words, capsys) == expected


def test_a_console_block_that_fails_is_told(tmp_path: Path) -> None:
    assert run_console("echo said; false\necho not reached", tmp_path) == "exit code 1\nsaid\n"


def test_a_console_block_leaves_nothing_running(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run_console("exec 3> held\nsleep 1000 &\necho written >&3", tmp_path) == ""
        assert os.read(held, 100) == b"written\n"
        assert select.select([held], [], [], 10)[0], "somebody still holds the pipe"
        assert os.read(held, 100) == b""
    finally:
        os.close(held)
