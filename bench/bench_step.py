"""One step, called from Python: `python -m bench.bench_step`. Networks A-E, 96 inputs, beside plain NumPy."""

import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numba
import numpy as np
from numpy.typing import NDArray

from stream_rnn.kernels.plan import weights_size
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import Card, Channel, Model, split_weights
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

INPUTS = 96
NETWORKS = {
    "A LSTM50x3+Dense1": ((Layer("lstm", 50),) * 3, 1),
    "B LSTM128+Dense2": ((Layer("lstm", 128),), 2),
    "C Elman32+Dense2": ((Layer("elman", 32),), 2),
    "D LSTM512x2+Dense2": ((Layer("lstm", 512),) * 2, 2),
    "E GRU128+Dense2": ((Layer("gru", 128),), 2),
}
SECONDS = 0.4  # of each of the rounds in turn
ROUNDS = 7


def network(layers: tuple[Layer, ...], outputs: int) -> Model:
    """A network with seeded weights."""
    rng = np.random.default_rng(0)
    architecture = Architecture(inputs=INPUTS, layers=layers, outputs=outputs)
    weights = rng.standard_normal(weights_size(architecture.plan())) * 0.1
    card = Card(
        architecture=architecture,
        inputs=tuple(Channel(f"x{i}") for i in range(INPUTS)),
        outputs=tuple(Channel(f"y{i}") for i in range(outputs)),
        rate_hz=1000.0,
        bin=1,
        missing="hold",
        horizon=0,
    )
    zeros, ones = np.zeros(INPUTS, dtype=np.float32), np.ones(INPUTS, dtype=np.float32)
    golden = np.empty((0, INPUTS), dtype=np.float32), np.empty((0, outputs), dtype=np.float32)
    return Model(card, weights.astype(np.float32), zeros, ones, *golden)


def sigmoid(v: F32) -> F32:
    """The logistic function."""
    result: F32 = np.reciprocal(1 + np.exp(-v))
    return result


def numpy_step(model: Model) -> Callable[[F32], F32]:
    """The same step as a NumPy user writes it."""
    named = split_weights(model.card.architecture, model.weights)
    hs = [np.zeros(layer.units, dtype=np.float32) for layer in model.card.architecture.layers]
    cs = [h.copy() for h in hs]

    def step(x: F32) -> F32:
        for i, layer in enumerate(model.card.architecture.layers):
            W, U, b = (named[f"layers.{i}.{name}"] for name in ("W", "U", "b"))
            h, H = hs[i], layer.units
            if layer.cell == "lstm":
                z = x @ W + h @ U + b
                cs[i] = sigmoid(z[H : 2 * H]) * cs[i] + sigmoid(z[:H]) * np.tanh(z[2 * H : 3 * H])
                hs[i] = sigmoid(z[3 * H :]) * np.tanh(cs[i])
            elif layer.cell == "gru":
                sums = x @ W + b[: 3 * H]
                gates = sigmoid(sums[: 2 * H] + h @ U)
                n = np.tanh(sums[2 * H :] + gates[:H] * (h @ named[f"layers.{i}.U_n"] + b[3 * H :]))
                hs[i] = (1 - gates[H:]) * n + gates[H:] * h
            else:
                hs[i] = np.tanh(x @ W + h @ U + b)
            x = hs[i]
        y: F32 = x @ named["readout.W"] + named["readout.b"]
        return y

    return step


def per_call_us(step: Callable[[F32], object], x: F32) -> NDArray[np.float64]:
    """Microseconds of single calls, for SECONDS."""
    until = time.perf_counter() + SECONDS
    durations = []
    while time.perf_counter() < until:
        began = time.perf_counter_ns()
        step(x)
        durations.append(time.perf_counter_ns() - began)
    return np.array(durations, dtype=np.float64) / 1000


def main() -> None:
    """Print the table."""
    x = np.random.default_rng(1).standard_normal(INPUTS).astype(np.float32)
    versions = f"Python {platform.python_version()}, numba {numba.__version__}, numpy {np.__version__}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {versions}: python -m {__spec__.name}")
    print("\n| network | step p50 us | p99 us | NumPy p50 us | p99 us | ratio |\n|---|---|---|---|---|---|")
    for name, (layers, outputs) in NETWORKS.items():
        model = network(layers, outputs)
        predictor, plain = Predictor(model), numpy_step(model)
        np.testing.assert_allclose(predictor.step(x), plain(x), atol=2e-6)
        rounds = [(per_call_us(predictor.step, x), per_call_us(plain, x)) for _ in range(ROUNDS)]
        ours, theirs = (np.concatenate(column) for column in zip(*rounds, strict=True))
        figures = [float(np.percentile(sample, p)) for sample in (ours, theirs) for p in (50, 99)]
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {name} | {cells} | {figures[0] / figures[2]:.2f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
