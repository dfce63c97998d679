"""The processor: its vector units, the cores this process may use, how fast they are allowed to run."""

import platform
from collections.abc import Mapping
from pathlib import Path

from llvmlite import binding  # type: ignore[import-untyped]  # it ships no types

from stream_rnn.doctor.findings import Finding
from stream_rnn.environment import usable_cores

VECTOR_UNITS = ("neon", "avx2", "avx512f", "fma")
CGROUPS = Path("/sys/fs/cgroup")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def check_processor(environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything.

    Args:
        environment: What numba is told.
    """
    features = {name: bool(has) for name, has in binding.get_host_cpu_features().items()}
    forced = environment.get("NUMBA_CPU_NAME", "")
    return [
        cpu_finding(str(binding.get_host_cpu_name()), platform.machine(), features, forced),
        cores_finding(usable_cores(), _quota()),
        governor_finding(read_line(GOVERNOR)),
    ]


def cpu_finding(name: str, machine: str, features: Mapping[str, bool], forced: str) -> Finding:
    """Judge what the kernels may use.

    Args:
        name: Processor as the compiler calls it.
        machine: Architecture, as `x86_64`.
        features: Whether it has each.
        forced: What `NUMBA_CPU_NAME` compiles for instead; empty for nothing.
    """
    units = [unit for unit in VECTOR_UNITS if features.get(unit)]
    found = f"{name} ({machine}), {', '.join(units) or 'no vector unit known'}"
    if forced:
        found = f"{found}; compiling for {forced!r} instead"
        return Finding("cpu", "warn", found, "unset NUMBA_CPU_NAME: the kernels then use what is there")
    if machine in {"x86_64", "AMD64"} and not (features.get("avx2") and features.get("fma")):
        do = "steps are several times slower without AVX2 and FMA: let a virtual machine see its host's CPU"
        return Finding("cpu", "warn", found, do)
    return Finding("cpu", "ok", found)


def cores_finding(usable: int, quota: float | None) -> Finding:
    """Judge how much processor there is.

    Args:
        usable: Cores this process may run on.
        quota: Cores' worth of time its cgroup gives it, or None for no limit.
    """
    found = f"{usable} cores" if usable != 1 else "1 core"
    if quota is not None:
        found += f", at most {quota:g} cores' worth of time"
    if quota is not None and quota < 1:
        do = "raise the CPU limit to 1 or more: once it is used up, every sample waits for the next period"
        return Finding("cores", "warn", found, do)
    if usable == 1:
        return Finding("cores", "warn", found, "give it a second core: broker and system need one too")
    return Finding("cores", "ok", found)


def governor_finding(governor: str | None) -> Finding:
    """Judge the frequency governor; None where the system does not tell."""
    if governor is None:
        return Finding("governor", "skip", "the system does not tell (a virtual machine?)")
    if governor == "powersave":
        do = "sudo cpupower frequency-set -g performance: a core that slept steps slower"
        return Finding("governor", "warn", governor, do)
    return Finding("governor", "ok", governor)


def read_line(path: Path) -> str | None:
    """The one line of a file of the kernel's; None where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def parse_quota(text: str | None) -> float | None:
    """Cores' worth of time from a `cpu.max`: its quota over its period, or None for no limit.

    >>> parse_quota("50000 100000"), parse_quota("max 100000")
    (0.5, None)
    """
    quota, _, period = (text or "max").partition(" ")
    return None if quota == "max" else int(quota) / int(period)


def _quota() -> float | None:
    """The tightest limit of this process's cgroup and those above it."""
    own = (read_line(Path("/proc/self/cgroup")) or "").rpartition("0::/")[2]
    folders = [CGROUPS / own, *(CGROUPS / own).parents]
    limits = [parse_quota(read_line(f / "cpu.max")) for f in folders if f.is_relative_to(CGROUPS)]
    return min((limit for limit in limits if limit is not None), default=None)
