"""As many messages as get through: how many a second, and the processor time that each takes."""

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class Load(Protocol):
    """Sends messages to what answers them."""

    def saturate(self, window: int, seconds: float) -> tuple[int, float]:
        """Keep `window` messages under way; give the number of answers, and how many a second."""


class Rate(NamedTuple):
    """Messages a second; microseconds of processor time of a message: of what answers it, and of all."""

    per_s: float
    cpu_us: float
    all_cpu_us: float


def saturated(load: Load, window: int, seconds: float, pid: int, *others: int) -> Rate:
    """The rate of a server `pid`, and what it, this process and the others spend."""
    pids = (pid, os.getpid(), *others)
    before = [cpu_ns(one) for one in pids]
    count, per_s = load.saturate(window, seconds)
    spent = [(cpu_ns(one) - began) / 1000 / count for one, began in zip(pids, before, strict=True)]
    return Rate(per_s, spent[0], sum(spent))


def medians(rates: list[Rate]) -> Rate:
    """Of each figure."""
    return Rate(*np.median(np.array(rates), axis=0).tolist())


def cpu_ns(pid: int) -> int:
    """Processor time of a process and its threads so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks)
