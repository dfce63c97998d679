"""The same step as a NumPy user writes it."""

import numpy as np

from bench.peers.base import Step
from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model, split_weights
from stream_rnn.sample import F32


def make(model: Model, streams: int) -> dict[str, Step]:
    """One candidate."""
    weights = split_weights(model.card.architecture, model.weights)
    layers = model.card.architecture.layers
    shape = () if streams == 1 else (streams,)
    hs = [np.zeros((*shape, layer.units), dtype=np.float32) for layer in layers]
    cs = [h.copy() for h in hs]
    arrays = [
        {
            name: weights[f"layers.{i}.{name}"]
            for name in ("W", "U", "b", "U_n")
            if f"layers.{i}.{name}" in weights
        }
        for i in range(len(layers))
    ]
    readout, bias = weights["readout.W"], weights["readout.b"]

    def step(x: F32) -> F32:
        x = x.reshape(*shape, -1)
        for i, layer in enumerate(layers):
            x, cs[i] = CELLS[layer.cell](layer, arrays[i], x, hs[i], cs[i])
            hs[i] = x
        y: F32 = x @ readout + bias
        return y

    return {"NumPy": step}


def sigmoid(v: F32) -> F32:
    """The logistic function."""
    result: F32 = np.reciprocal(1 + np.exp(-v))
    return result


def lstm(layer: Layer, w: dict[str, F32], x: F32, h: F32, c: F32) -> tuple[F32, F32]:
    """Gates i, f, g, o."""
    H, z = layer.units, x @ w["W"] + h @ w["U"] + w["b"]
    c = sigmoid(z[..., H : 2 * H]) * c + sigmoid(z[..., :H]) * np.tanh(z[..., 2 * H : 3 * H])
    return sigmoid(z[..., 3 * H :]) * np.tanh(c), c


def gru(layer: Layer, w: dict[str, F32], x: F32, h: F32, c: F32) -> tuple[F32, F32]:
    """Gates r, z, n; reset after the product."""
    H = layer.units
    sums = x @ w["W"] + w["b"][: 3 * H]
    gates = sigmoid(sums[..., : 2 * H] + h @ w["U"])
    n = np.tanh(sums[..., 2 * H :] + gates[..., :H] * (h @ w["U_n"] + w["b"][3 * H :]))
    return (1 - gates[..., H:]) * n + gates[..., H:] * h, c


def elman(_: Layer, w: dict[str, F32], x: F32, h: F32, c: F32) -> tuple[F32, F32]:
    """One tanh."""
    return np.tanh(x @ w["W"] + h @ w["U"] + w["b"]), c


CELLS = {"lstm": lstm, "gru": gru, "elman": elman}
