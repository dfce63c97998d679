"""A process that says how long each part of its start took: `python -m bench.start SPAWNED_NS`.

For bench_start. Imports stand in the order of a daemon's start, with the clock read between them: hence
inside a function.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

SPAWNED, FIRST = "interpreter", time.monotonic_ns()


def stages() -> Iterator[str]:
    """Do one stage after another, and name it when it is done."""
    import numpy as np  # noqa: PLC0415 - the import is what is timed; so are those below

    yield "import numpy"
    import numba.core.event as events  # noqa: PLC0415

    yield "import numba"
    from stream_rnn.predictor import Predictor  # noqa: PLC0415

    yield "import stream_rnn.predictor"
    from stream_rnn.cli import run  # noqa: PLC0415

    assert run
    yield "import the rest of the daemon"
    from stream_rnn.demo import demo_model  # noqa: PLC0415
    from stream_rnn.model.file import load_model  # noqa: PLC0415

    model = load_model(demo_model())
    yield "load the model"
    with events.install_recorder("numba:compile") as recorder:
        predictor = Predictor(model)
    yield "compile, or read the cache, and prove"
    predictor.step(np.zeros(predictor.inputs, dtype=np.float32))
    yield "first step"
    RECORDED.extend(exclusive(recorder.buffer))


RECORDED: list[tuple[str, float]] = []


def exclusive(buffer: Iterable[tuple[float, Any]]) -> Iterator[tuple[str, float]]:
    """Seconds each kernel took to compile, without those it calls, from numba's events."""
    open_: list[tuple[str, float, float]] = []  # name, start, seconds of those inside
    for at, event in buffer:
        name = event.data["dispatcher"].py_func.__name__
        if event.is_start:
            open_.append((name, at, 0.0))
        elif open_:
            begun, start, inside = open_.pop()
            yield begun, at - start - inside
            if open_:
                above = open_.pop()
                open_.append((above[0], above[1], above[2] + at - start))


def main(spawned_ns: int) -> None:
    """Run the stages and write them as JSON."""
    found, last = {SPAWNED: (FIRST - spawned_ns) / 1e9}, FIRST
    for stage in stages():
        now = time.monotonic_ns()
        found[stage] = (now - last) / 1e9
        last = now
    import msgspec  # noqa: PLC0415 - after what is timed

    sys.stdout.buffer.write(msgspec.json.encode([found, RECORDED]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
