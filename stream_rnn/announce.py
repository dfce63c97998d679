"""What a daemon says about itself: status, birth, metrics, events. Always JSON."""

import platform
from typing import Any

import msgspec
import numba
import numpy as np

from stream_rnn import __version__
from stream_rnn.latency import Histogram
from stream_rnn.model.model import Model

SCHEMA = 1
STAGES = ("queue", "step", "total", "end_to_end")
"""From arrival to decoding; decoding and stepping; arrival to published; source time to published."""


def status(state: str, run: str) -> bytes:
    """The retained status. The run id tells a late will of an earlier run from this one's."""
    return msgspec.json.encode({"status": state, "session": run})


def info(model: Model, node: str, run: str, inputs: dict[str, dict[str, str]]) -> bytes:
    """The retained birth message: what is served, and what it takes.

    Args:
        model: The model.
        node: Name of the daemon.
        run: Id of this run.
        inputs: Each source by name, with where samples go and how they are encoded.
    """
    card = model.card
    return msgspec.json.encode(
        {
            "schema": SCHEMA,
            "node": node,
            "session": run,
            "model": {
                "hash": model.hash,
                "architecture": str(card.architecture),
                "inputs": card.inputs,
                "outputs": card.outputs,
                "rate_hz": card.rate_hz,
                "bin_ms": model.bin_ms,
                "horizon": card.horizon,
                "missing": card.missing,
            },
            "sources": inputs,
            "versions": {
                "stream_rnn": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "numba": numba.__version__,
            },
        }
    )


class Latency:
    """The stages of a sample's way, for the last interval and since the start."""

    def __init__(self) -> None:
        self.interval = {stage: Histogram() for stage in STAGES}
        self.whole = {stage: Histogram() for stage in STAGES}

    def roll(self) -> dict[str, Any]:
        """Summaries of the interval that ends now, and of everything; the next interval begins."""
        for stage, histogram in self.interval.items():
            self.whole[stage].add(histogram)
        summaries = {
            "latency_us": {s: h.summary() for s, h in self.interval.items() if h.count},
            "latency_us_since_start": {s: h.summary() for s, h in self.whole.items() if h.count},
        }
        for histogram in self.interval.values():
            histogram.clear()
        return summaries


class EventLimiter:
    """Lets a few events of each kind through a second; the rest is counted and told with the next."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._windows: dict[str, tuple[int, int]] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, kind: str, now_ns: int) -> int | None:
        """Decide about one event.

        Args:
            kind: What happened.
            now_ns: Monotonic time.

        Returns:
            Number of events of this kind held back since the last one told; None when this one is held back.
        """
        second = now_ns // 1_000_000_000
        began, told = self._windows.get(kind, (second, 0))
        if began != second:
            told = 0
        if told >= self._per_second:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        self._windows[kind] = second, told + 1
        return self._suppressed.pop(kind, 0)
