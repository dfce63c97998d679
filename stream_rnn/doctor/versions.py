"""Whether what is installed is what this package asks for."""

import platform
import re
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from stream_rnn.doctor.findings import Finding

PACKAGE = "stream-rnn"
SHOWN = ("numpy", "numba", "aiomqtt", "paho-mqtt")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?P<bounds>[^;]*)")


def check_versions() -> Finding:
    """Compare with the package's own metadata."""
    try:
        wanted, python = requires(PACKAGE) or [], metadata(PACKAGE)["Requires-Python"]
    except PackageNotFoundError:
        return Finding(
            "versions", "skip", f"{PACKAGE} runs from its source: it says nothing of what it needs"
        )
    needed = [r for r in wanted if ";" not in r]  # what follows is for extras, or for other systems
    return versions_finding([f"Python{python}", *needed], _installed)


def versions_finding(requirements: Iterable[str], installed: Callable[[str], str | None]) -> Finding:
    """Judge what is installed.

    Args:
        requirements: As `numpy>=2.1` or `aiomqtt<3,>=2.5.1`.
        installed: Gives the version of a package, None for one that is absent.
    """
    unmet, seen = [], [f"Python {installed('Python')}"]
    for requirement in requirements:
        parts = REQUIREMENT.match(requirement)
        assert parts is not None, requirement
        name, bounds = parts["name"], parts["bounds"].strip("() ")
        got = installed(name)
        if got is None or not all(_met(got, bound.strip()) for bound in bounds.split(",") if bound):
            unmet.append(f"{name}: expected {bounds}, got {got or 'none'}")
        elif name in SHOWN:
            seen.append(f"{name} {got}")
    if unmet:
        return Finding("versions", "fail", "; ".join(unmet), f"python -m pip install --upgrade {PACKAGE}")
    return Finding("versions", "ok", ", ".join(seen))


def _met(got: str, bound: str) -> bool:
    """Whether a release lies within `>=2.1`, `<3`, `==1.0` and their like."""
    sign, limit = re.split(r"(?<=[<>=!~])(?=[^<>=!~])", bound, maxsplit=1)
    ours, theirs = _release(got), _release(limit)
    length = max(len(ours), len(theirs))
    a, b = (r + (0,) * (length - len(r)) for r in (ours, theirs))
    held = {">=": a >= b, "<": a < b, "<=": a <= b, ">": a > b, "==": a == b, "!=": a != b}
    return held.get(sign, a >= b)  # `~=`: its upper bound is none of ours


def _release(text: str) -> tuple[int, ...]:
    """`2.1.0rc1` as 2, 1, 0."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _installed(name: str) -> str | None:
    if name == "Python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return None
