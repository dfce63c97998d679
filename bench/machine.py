"""Where a benchmark runs: processor, system, versions, date; and the one core it is pinned to."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VECTORS = ("fma", "avx", "avx2", "avx512f", "avx512_bf16", "amx_tile", "neon", "asimd", "sve", "sve2")
"""Features of a processor that decide how wide its arithmetic is."""


def machine_line() -> str:
    """Processor with its vector features, cores, memory, system."""
    info = _cpu_info()
    model = next(
        (info[key] for key in ("model name", "Model", "Processor") if key in info), platform.machine()
    )
    flags = set((info.get("flags") or info.get("Features") or "").split())
    features = " ".join(name for name in VECTORS if name in flags)
    family = f" family {info['cpu family']} model {info['model']}" if "cpu family" in info else ""
    caches = ", ".join(f"{name} {size}" for name, size in _caches().items())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{model}{family} ({features}; {caches}), {os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines if key.strip()}


def _caches() -> dict[str, str]:
    """Sizes of the first core's data caches."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Of Python, and of those distributions that are installed."""
    found = {"Python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def today() -> str:
    """The date, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def pin() -> int | None:
    """Keep this process and its children on the last core it may use; None where the system cannot."""
    if sys.platform != "linux":
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core
