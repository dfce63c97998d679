"""What every peer is: a step with a state of its own; what is not installed is said by name."""

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

Step: TypeAlias = Callable[[F32], Any]
"""Samples, (streams, D), to a NumPy array of the outputs, (streams, K) but for axes of one."""
Maker: TypeAlias = Callable[[Model, int], dict[str, Step]]

TOLERANCE = 1e-4
"""Of outputs, relative to the largest: peers round, and approximate tanh, each in their way."""
CHECKED, CHECKED_IN_BATCH = 20, 4  # samples
CHECKED_STREAMS = 4


class Absent(Exception):  # noqa: N818 - no error: a peer that is not installed
    """A peer is not installed, or does not run here."""


def module(name: str) -> Any:  # noqa: ANN401 - peers are optional: their types are not there to be checked
    """Import what may not be installed.

    Raises:
        Absent: It is not.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"{name}: {error}".split("\n", maxsplit=1)[0]) from None


def make_all(
    makers: dict[str, Maker], model: Model, streams: int = 1
) -> tuple[dict[str, Step], dict[str, str]]:
    """The steps of every peer that is here and computes what we do, and why the others are missing."""
    steps: dict[str, Step] = {}
    skipped: dict[str, str] = {}
    for name, make in makers.items():
        try:
            made = make(model, streams)
        except Absent as why:
            skipped[name] = str(why)
            continue
        for label, step in made.items():
            check(label, step, model, streams)
            steps[label] = step
    return steps, skipped


def check(name: str, step: Step, model: Model, streams: int) -> None:
    """Compare a peer with our predictor on a few samples.

    Raises:
        AssertionError: It computes something else: its time would mean nothing.
    """
    D = model.card.architecture.inputs
    count = CHECKED if streams == 1 else CHECKED_IN_BATCH
    xs = np.random.default_rng(2).standard_normal((count, streams, D)).astype(np.float32)
    predictor = Predictor(model)
    looked_at = range(0, streams, -(-streams // CHECKED_STREAMS))
    ours = np.stack([predictor.run(xs[:, s], stream=str(s)) for s in looked_at], axis=1)
    theirs = np.stack([np.array(step(x), dtype=np.float32).reshape(streams, -1)[looked_at] for x in xs])
    difference = float(np.abs(ours - theirs).max()) / max(1.0, float(np.abs(ours).max()))
    assert difference < TOLERANCE, (
        f"{name}: expected our outputs within {TOLERANCE}, got {difference:.2g} apart"
    )
