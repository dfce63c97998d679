"""`doctor` judges what it measures of a machine: its processor, clocks, versions, caches."""

from importlib.metadata import version
from pathlib import Path

import pytest

from stream_rnn.doctor import clock
from stream_rnn.doctor.clock import check_clock, monotonic_finding, timers_finding, wall_finding
from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.model import cache_finding, check_cache, step_finding
from stream_rnn.doctor.permissions import descriptors_finding, disk_finding
from stream_rnn.doctor.processor import (
    check_processor,
    cores_finding,
    cpu_finding,
    governor_finding,
    parse_quota,
)
from stream_rnn.doctor.versions import check_versions, versions_finding


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "SLEEPS", 5)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wanted = f"{tmp_path}/file/cache"
    finding = check_cache(0.1, {"NUMBA_CACHE_DIR": wanted})
    assert finding.verdict == "warn"
    assert finding.do == (
        f"NUMBA_CACHE_DIR is {wanted}, which cannot be written: make it writable, or name another folder"
    )


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (cache_finding("/c/x", "/c", 0.2, warm=True), ("ok", "/c/x: warm, loaded in 0.20 s")),
        (cache_finding("/c", "", 20, warm=False), ("ok", "/c: was cold, compiled in 20.0 s; now warm")),
        (cache_finding("", "", 20, warm=False), ("warn", "none: compiled in 20.0 s")),
    ],
)
def test_a_cache_is_judged_by_where_it_is(finding: Finding, expected: tuple[str, str]) -> None:
    assert (finding.verdict, finding.found) == expected


@pytest.mark.parametrize(
    ("name", "finding", "expected"),
    [
        ("avx2", cpu_finding("zen", "x86_64", {"avx2": True, "fma": True}, ""), "ok"),
        ("no fma", cpu_finding("atom", "x86_64", {"avx2": False, "fma": False}, ""), "warn"),
        ("neon", cpu_finding("apple-m1", "arm64", {"neon": True}, ""), "ok"),
        ("forced", cpu_finding("zen", "x86_64", {"avx2": True, "fma": True}, "generic"), "warn"),
        ("two cores", cores_finding(2, None), "ok"),
        ("one core", cores_finding(1, None), "warn"),
        ("half a core", cores_finding(8, 0.5), "warn"),
        ("performance", governor_finding("performance"), "ok"),
        ("powersave", governor_finding("powersave"), "warn"),
        ("no governor", governor_finding(None), "skip"),
        ("fine clock", monotonic_finding(1e-9, 40, "tsc"), "ok"),
        ("coarse clock", monotonic_finding(1e-2, 40, None), "warn"),
        ("slow clock", monotonic_finding(1e-9, 2000, "hpet"), "warn"),
        ("true clock", wall_finding(synchronised=True, max_error_ms=0.5, step_ms=0, over_s=1), "ok"),
        ("free clock", wall_finding(synchronised=False, max_error_ms=-1, step_ms=0, over_s=1), "warn"),
        ("silent clock", wall_finding(synchronised=None, max_error_ms=-1, step_ms=0, over_s=1), "skip"),
        ("jumping clock", wall_finding(synchronised=True, max_error_ms=0.5, step_ms=-80, over_s=1), "warn"),
        ("prompt timers", timers_finding([0.1] * 100, 0.1, 2), "ok"),
        ("late timers", timers_finding([0.1] * 90 + [30.0] * 10, 9, 2), "warn"),
        ("fast step", step_finding([3.0] * 100, 100), "ok"),
        ("slow step", step_finding([8000.0] * 100, 100), "warn"),
        ("roomy disk", disk_finding(Path("/"), 10**11), "ok"),
        ("full disk", disk_finding(Path("/"), 10**6), "warn"),
        ("few files", descriptors_finding(320, 256), "warn"),
        ("no limit", descriptors_finding(320, -1), "ok"),
    ],
)
def test_what_was_measured_is_judged(name: str, finding: Finding, expected: str) -> None:
    assert finding.verdict == expected, name
    assert bool(finding.do) == (expected == "warn")


def test_a_jump_of_the_wall_clock_is_told_with_its_size() -> None:
    assert (
        wall_finding(synchronised=True, max_error_ms=0.5, step_ms=-80, over_s=0.25).found
        == "jumped by -80.0 ms within 0.2 s"
    )


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("50000 100000", 0.5), (None, None), ("max", None)]
)
def test_a_cgroup_says_how_many_cores_it_gives(text: str | None, cores: float | None) -> None:
    assert parse_quota(text) == cores


def test_versions_are_those_the_package_asks_for() -> None:
    finding = check_versions()
    assert finding.verdict == "ok"
    assert f"numba {version('numba')}" in finding.found


def test_a_version_out_of_range_is_named() -> None:
    installed = {"Python": "3.11.7", "numba": "0.60.0", "aiomqtt": "3.0.0", "rich": "13.0", "paho-mqtt": None}
    wanted = ["Python>=3.11", "numba>=0.61", "aiomqtt<3,>=2.5.1", "rich>=13", "paho-mqtt>=2.1"]
    finding = versions_finding(wanted, installed.get)
    assert finding.verdict == "fail"
    assert finding.found == (
        "numba: expected >=0.61, got 0.60.0; aiomqtt: expected <3,>=2.5.1, got 3.0.0; "
        "paho-mqtt: expected >=2.1, got none"
    )


async def test_this_machine_is_measured() -> None:
    found = [*await check_clock(), *check_processor({})]
    assert [f.subject for f in found] == ["clock", "wall clock", "timers", "cpu", "cores", "governor"]
    assert not any(f.verdict == "fail" for f in found)
