"""Fuzz every decoder: `python -m bench.fuzz --seconds 30 [TARGET ...]`.

Coverage-guided where atheris is installed (`pip install atheris`, in an environment of its own); else the
seeds are changed at random, and that is said. Each target runs in a process of its own, so that a crash, a
hang or too much memory ends that one alone.
"""

import argparse
import importlib
import importlib.util
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.report import Findings, Goal, Row, Table, number
from bench.runner import reported, say, tell

if TYPE_CHECKING:
    from tests.decoders import Target

MEMORY_MB = 2048
HANG_S = 10
CUT = 4096  # bytes of an input
LOOKED_AT = ["stream_rnn", "mcap", "tomllib", "csv"]
ROOT = Path(__file__).parent.parent
SAID = 12  # lines of a finding
LONG_S = 30.0  # for each target: less is a short form


def changed(seed: bytes, chance: random.Random) -> bytes:
    """A seed with a few edits: bytes changed, cut out, doubled, numbers made extreme."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 3:
                data[at : at + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", bytes(4)]
                )
            case 4:
                data[at:at] = data[at : at + chance.randint(1, 32)]
            case _:
                del data[at:]
    return bytes(data)


def random_cases(target: "Target", seconds: float) -> int:
    """Cases until the time is over."""
    chance, cases, until = random.Random(1), 0, time.monotonic() + seconds  # noqa: S311 - no secret
    while time.monotonic() < until:
        target.run(changed(chance.choice(target.seeds), chance)[:CUT])
        cases += 1
    return cases


def guided(atheris: Any, name: str, target: "Target", seconds: float) -> None:  # noqa: ANN401 - a module
    """Let libFuzzer look for new ways through the code; it ends the process."""
    folder = Path(tempfile.mkdtemp(prefix="stream-rnn-fuzz-"))
    for i, seed in enumerate(target.seeds):
        (folder / str(i)).write_bytes(seed)
    options = [
        f"-max_total_time={int(seconds)}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={CUT}",
    ]
    where = f"-artifact_prefix={tempfile.gettempdir()}/fuzz-{name}-"
    atheris.Setup(
        [sys.argv[0], *options, where, "-print_final_stats=1", "-verbosity=0", str(folder)], target.run
    )
    atheris.Fuzz()


def one(name: str, seconds: float) -> int:
    """Fuzz one target in this process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print(f"stat::number_of_executed_units: {random_cases(_targets()[name], seconds)}")
        return 0
    kernels: Any = importlib.import_module("conftest")  # numba compiles no instrumented code
    left_out = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in kernels.kernel_sources(ROOT)
    ]
    with atheris.instrument_imports(include=LOOKED_AT, exclude=left_out):
        found = _targets()[name]
    guided(atheris, name, found, seconds)
    return 0


def _targets() -> "dict[str, Target]":
    """Every target; imported late, so that what it stands on is instrumented."""
    found: dict[str, Target] = importlib.import_module("tests.decoders").targets()
    return found


class Case(NamedTuple):
    """What became of a target: cases, and whether one of them was not taken as it should be."""

    cases: int
    found: bool


def fuzzed(name: str, seconds: float) -> Case:
    """Fuzz one target in a process of its own, and tell."""
    command = [sys.executable, "-m", "bench.fuzz", "--one", name, "--seconds", str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = (ended.stdout + ended.stderr).splitlines()
    cases = next((line.split()[-1] for line in said if "number_of_executed_units" in line), "0")
    say(f"{name:<16} {cases:>9} cases  {'FOUND' if ended.returncode else 'fine'}")
    if ended.returncode:
        say("\n".join(line for line in said[-SAID:] if line))
    return Case(int(cases), ended.returncode != 0)


def findings(cases: dict[str, Case], seconds: float, how: str) -> Findings:
    """One table, and that nothing is found."""
    rows = [
        Row(name, figure, {"value": float(value)})
        for name, case in cases.items()
        for figure, value in (("cases", case.cases), ("found", case.found))
    ]
    total = sum(case.cases for case in cases.values())
    table = Table(
        title=f"{len(cases)} decoders",
        unit="cases",
        ours="",
        rows=tuple(rows),
        ratios=False,
        note=f"{number(total)} cases in all, {seconds:g} s for each decoder, {how}. A case is found when it "
        f"ends the process, takes more than {HANG_S} s or {MEMORY_MB} MiB, or gives anything but one line "
        "under one known reason.",
    )
    return Findings(
        tables=(table,), goals=(Goal("cases found", sum(case.found for case in cases.values()), 0),)
    )


def main() -> int:
    """Fuzz what was asked for; 1 where something was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="decoders (all)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="for each target (30)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found here too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args.one, args.seconds)
    is_guided = importlib.util.find_spec("atheris") is not None
    how = "guided by coverage (atheris)" if is_guided else "changed at random: atheris is not installed"
    cases = {name: fuzzed(name, args.seconds) for name in args.targets or _targets()}
    options = "".join(f" {word}" for word in ("--seconds", f"{args.seconds:g}", *args.targets))
    short = bool(args.targets) or not is_guided or args.seconds < LONG_S
    tell(reported("bench.fuzz", __doc__, options, findings(cases, args.seconds, how), quick=short), args.json)
    return int(any(case.found for case in cases.values()))


if __name__ == "__main__":
    sys.exit(main())
