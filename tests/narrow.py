"""Every law for every cell, and outputs as JSON: run as a program for a processor with narrower vectors."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from stream_rnn.kernels.vector import LANES
from stream_rnn.model.architecture import Architecture, Layer
from tests.laws import LAWS, Made

ROOT = Path(__file__).parents[1]
CELLS = {
    "elman": Layer("elman", 1),
    "elman relu": Layer("elman", 1, activation="relu"),
    "gru": Layer("gru", 1),
    "gru reset before": Layer("gru", 1, reset="before"),
    "lstm": Layer("lstm", 1),
    "elman linear": Layer("elman", 1, activation="linear"),
    "fir": Layer("fir", 1, lags=5),
}
SIZES = ((1, 1, 1), (5, 17, 1), (16, 33, 2), (9, 8, 3))
"""Inputs, units, layers."""


def networks() -> Iterator[tuple[str, Made]]:
    """Each cell at each awkward size, named; the same seeds everywhere."""
    for name, cell in CELLS.items():
        for inputs, units, depth in SIZES:
            layers = (msgspec.structs.replace(cell, units=units),) * depth
            made = Made(Architecture(inputs=inputs, layers=layers, outputs=2), 60)
            yield f"{name} {inputs} {units} {depth}", made


def outputs() -> dict[str, list[list[float]]]:
    """Outputs of each network, to compare between processors."""
    return {name: made.run(made.xs).tolist() for name, made in networks()}


def told_by(settings: Mapping[str, str]) -> tuple[int, dict[str, list[list[float]]]]:
    """Lanes and outputs where numba compiles for the processor that `settings` describe."""
    command = [sys.executable, "-m", "tests.narrow"]
    environment = os.environ | settings
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    lanes, told = json.loads(done.stdout)
    return lanes, told


if __name__ == "__main__":
    for _, network in networks():
        for law in LAWS:
            law(network)
    json.dump([LANES, outputs()], sys.stdout)
