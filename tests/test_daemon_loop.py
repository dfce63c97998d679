"""The loop a daemon runs on."""

import asyncio
import importlib.util
import sys

import pytest

from stream_rnn.daemon.loop import loop_factory, run_until_done


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")
def test_daemon_runs_on_uvloop_where_it_is_installed() -> None:
    assert run_until_done(loop_module()) == "uvloop"


def test_daemon_runs_on_asyncio_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as Python marks what cannot be imported
    assert loop_factory() is None
    assert run_until_done(loop_module()).startswith("asyncio")
