"""A first start: two processes compile, all of it is in the cache, and what is read from it serves."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_rnn import stepper
from stream_rnn.environment import usable_cores
from stream_rnn.kernels import _cache

FIRST = """
from stream_rnn.daemon.beside import compile_beside
from stream_rnn.demo import demo_model
compile_beside(demo_model(), sparse=True)
"""
AFTER = """
import time
import numba.core.event as events
from stream_rnn.demo import demo_model
from stream_rnn.predictor import Predictor
with events.install_recorder("numba:compile") as compiled:
    Predictor.load(demo_model()).tune(time.perf_counter_ns)
print(len(compiled.buffer))
"""
ANOTHER = """
import numpy as np
from stream_rnn.model.architecture import Architecture, Layer
from tests.laws import Made, run_equals_repeated_step
run_equals_repeated_step(Made(Architecture(inputs=3, layers=(Layer("lstm", 5),), outputs=2), 4))
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of kernels after a first start."""
    if usable_cores() == 1:
        pytest.skip("one core: nothing is compiled beside")
    cache = tmp_path_factory.mktemp("cache")
    said(FIRST, cache)
    return cache


def said(script: str, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.stdout


def test_nothing_is_left_to_compile(filled: Path) -> None:
    assert said(AFTER, filled) == "0\n"


def test_another_kernel_is_compiled_after_some_were_read(filled: Path) -> None:
    said(AFTER + ANOTHER, filled)


def test_where_kernels_are_kept_nothing_is_compiled_beside(filled: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*")}
    said(FIRST, filled)
    assert {path: path.stat().st_mtime_ns for path in filled.rglob("*")} == before


def test_what_is_kept_is_fresh_while_every_file_of_kernels_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "kernels" / "passes").mkdir(parents=True)
    files = [
        tmp_path / "preprocess.py",
        tmp_path / "kernels" / "lstm.py",
        tmp_path / "kernels" / "passes" / "gru.py",
    ]
    stamps = set()
    for file in files:
        file.write_text("a = 1")
        stamps.add(_cache.stamp_of.__wrapped__(tmp_path))
        file.write_text("a = 10")
        stamps.add(_cache.stamp_of.__wrapped__(tmp_path))
    assert len(stamps) == 2 * len(files)
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "run.py").write_text("no kernel")
    assert _cache.stamp_of.__wrapped__(tmp_path) in stamps
    advance: Any = stepper.advance
    kept = advance._cache._cache_file._source_stamp
    assert kept[1] == _cache.stamp_of(_cache.SOURCES)
    assert {name for name, _, _ in kept[1]} > {"stepper.py", "kernels/packed.py", "kernels/passes/lstm.py"}
