"""Slow, clear float64 twins of the kernels: the equations as the papers write them."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from stream_rnn.model.architecture import Architecture, Layer

F64 = NDArray[np.float64]
Named = Mapping[str, F64]


def sigmoid(v: F64) -> F64:
    result: F64 = 1.0 / (1.0 + np.exp(-v))
    return result


def softmax(v: F64) -> F64:
    shifted = np.exp(v - v.max())
    result: F64 = shifted / shifted.sum()
    return result


READOUTS: dict[str, Callable[[F64], F64]] = {
    "linear": lambda v: v,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softmax": softmax,
}


def elman_step(x: F64, h: F64, w: Named, activation: str) -> F64:
    z = x @ w["W"] + h @ w["U"] + w["b"]
    if activation == "linear":
        return z
    result: F64 = np.maximum(z, 0.0) if activation == "relu" else np.tanh(z)
    return result


def fir_step(past: list[F64], w: Named, units: int, lags: int) -> F64:
    """Of the samples so far, the newest first."""
    taps = [(w["W"][:, at : at + units], w["b"][at : at + units]) for at in range(0, lags * units, units)]
    result: F64 = sum((x @ W + b for x, (W, b) in zip(past, taps, strict=False)), np.zeros(units))
    return result


def gru_step(x: F64, h: F64, w: Named, reset: str) -> F64:
    H = len(h)
    W, U, U_n, b = w["W"], w["U"], w["U_n"], w["b"]
    r = sigmoid(x @ W[:, :H] + h @ U[:, :H] + b[:H])
    z = sigmoid(x @ W[:, H : 2 * H] + h @ U[:, H:] + b[H : 2 * H])
    recurrent = r * (h @ U_n + b[3 * H :]) if reset == "after" else (r * h) @ U_n
    n = np.tanh(x @ W[:, 2 * H :] + b[2 * H : 3 * H] + recurrent)
    result: F64 = (1.0 - z) * n + z * h
    return result


def lstm_step(x: F64, h: F64, c: F64, w: Named) -> tuple[F64, F64]:
    z = x @ w["W"] + h @ w["U"] + w["b"]
    i, f, g, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


class Network:
    """The whole stack, one sample at a time."""

    def __init__(self, architecture: Architecture, named: Mapping[str, NDArray[np.float32]]) -> None:
        self.architecture = architecture
        self.named = {name: array.astype(np.float64) for name, array in named.items()}
        networks = architecture.networks
        self.owners = [f"members.{member}." for member in range(networks)] if networks > 1 else [""]
        layers = [(owner, i) for owner in self.owners for i in range(len(architecture.layers))]
        self.h = {place: np.zeros(architecture.layers[place[1]].units) for place in layers}
        self.c = dict(self.h)
        self.past: dict[tuple[str, int], list[F64]] = {place: [] for place in layers}

    def step(self, x: F64) -> F64:
        summed: F64 = sum(
            (self._network(owner, x) for owner in self.owners), np.zeros(self.architecture.outputs)
        )
        return READOUTS[self.architecture.readout](summed)

    def run(self, xs: F64) -> F64:
        return np.array([self.step(x) for x in xs])

    def _network(self, owner: str, x: F64) -> F64:
        for i, layer in enumerate(self.architecture.layers):
            x = self._cell((owner, i), layer, x)
        y: F64 = x @ self.named[f"{owner}readout.W"] + self.named[f"{owner}readout.b"]
        return y

    def _cell(self, i: tuple[str, int], layer: Layer, x: F64) -> F64:
        owner = f"{i[0]}layers.{i[1]}"
        names = ("W", "b") if layer.cell == "fir" else ("W", "U", "b")
        weights = {name: self.named[f"{owner}.{name}"] for name in names}
        if layer.cell == "fir":
            self.past[i] = [x, *self.past[i][: layer.steps - 1]]
            self.h[i] = fir_step(self.past[i], weights, layer.units, layer.steps)
        elif layer.cell == "lstm":
            self.h[i], self.c[i] = lstm_step(x, self.h[i], self.c[i], weights)
        elif layer.cell == "gru":
            weights["U_n"] = self.named[f"{owner}.U_n"]
            self.h[i] = gru_step(x, self.h[i], weights, layer.reset)
        else:
            self.h[i] = elman_step(x, self.h[i], weights, layer.activation)
        return self.h[i]


def loss(architecture: Architecture, named: Named, X: F64, Y: F64, scored_from: int) -> float:
    """1/2 sum (y - y*)^2 over a batch of windows, X (T, B, D), Y (T, B, K); NaN targets do not count."""
    total = 0.0
    for b in range(X.shape[1]):
        network = Network(architecture, {})
        network.named = dict(named)
        errors = (network.run(X[:, b]) - Y[:, b])[scored_from:]
        total += 0.5 * float(np.nansum(errors**2))
    return total


def binned(xs: F64, size: int) -> F64:
    """Sums over the last `size` samples of each row, zeros before the first."""
    padded = np.vstack([np.zeros((size - 1, xs.shape[1])), xs])
    return np.array([padded[t : t + size].sum(axis=0) for t in range(len(xs))])
