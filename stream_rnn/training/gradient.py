"""Loss and gradient of a batch of windows: backpropagation through time over a stack of cells.

L = 1/(2N) sum (y - y*)^2 over the N scored outputs (the first `scored_from` steps of a window only warm the
state; targets that are NaN do not count).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_rnn.kernels.activations import SIGMOID, SOFTMAX, TANH, activate
from stream_rnn.kernels.elman import elman_backward, elman_forward
from stream_rnn.kernels.gru import gru_backward, gru_forward
from stream_rnn.kernels.linear import accumulate_outer, accumulate_rows, sum_rows
from stream_rnn.kernels.lstm import lstm_backward, lstm_forward
from stream_rnn.kernels.plan import (
    ACTIVATION,
    ELMAN_RELU,
    GRU_RESET_AFTER,
    GRU_RESET_BEFORE,
    INPUTS,
    KIND,
    LSTM,
    UNITS,
    WEIGHTS,
    WEIGHTS_AT,
)
from stream_rnn.sample import F32, I64

Arrays = dict[str, F32]


class Dropout(NamedTuple):
    """Shares of values set to zero while training."""

    inputs: float = 0.0
    readout: float = 0.0


def views(plan: I64, flat: F32) -> list[Arrays]:
    """Each layer's arrays by name, as views of the flat buffer; the readout's are last."""
    layers = []
    for row in plan:
        at = int(row[WEIGHTS_AT])
        arrays = {}
        for name, shape in WEIGHTS[int(row[KIND])](int(row[INPUTS]), int(row[UNITS])).items():
            size = int(np.prod(shape))
            arrays[name] = flat[at : at + size].reshape(shape)
            at += size
        layers.append(arrays)
    return layers


def gradient(
    plan: I64,
    weights: F32,
    X: F32,
    Y: F32,
    scored_from: int,
    dropout: Dropout,
    rng: np.random.Generator,
    dweights: F32,
) -> tuple[float, int]:
    """Add the gradient of half the sum of squared errors over a batch of windows.

    The caller divides by N: so several shards of one batch add up to the gradient of the whole.

    Args:
        plan: Layout of the network.
        weights: Weights, flat.
        X: Features, (T, B, D).
        Y: Targets, (T, B, K). NaN is not scored.
        scored_from: First step that is scored.
        dropout: Shares dropped on the inputs and before the readout.
        rng: Draws what is dropped.
        dweights: Gradient, flat. Added to.

    Returns:
        Half the sum of squared errors, and the number N of outputs it is summed over.
    """
    layers, dlayers = views(plan, weights), views(plan, dweights)
    passes = _forward(plan, layers, _drop(X, dropout.inputs, rng)[0])
    code, H = int(plan[-1, ACTIVATION]), int(plan[-1, INPUTS])
    hs, kept = _drop(passes[-1].hs, dropout.readout, rng)
    top = hs.reshape(-1, H)
    ys = np.tile(layers[-1]["b"], (len(top), 1))
    accumulate_rows(top, layers[-1]["W"], ys)
    _activate_rows(code, ys)

    errors, count = _errors(ys, Y, scored_from)
    loss = 0.5 * float(np.sum(np.square(errors, dtype=np.float64)))
    if not np.isfinite(loss):
        return loss, count  # the caller stops; there is no gradient to speak of
    dz = _through_activation(code, ys, errors)
    accumulate_outer(top, dz, dlayers[-1]["W"])
    sum_rows(dz, dlayers[-1]["b"])
    dhs = _through_weights(dz, layers[-1]["W"], hs.shape)
    if kept is not None:
        dhs *= kept
    for layer in range(len(passes) - 1, -1, -1):
        sums = passes[layer].backward(dhs, dlayers[layer])
        if layer > 0:
            dhs = _through_weights(sums, layers[layer]["W"], passes[layer].X.shape)
    return loss, count


def _forward(plan: I64, layers: list[Arrays], below: F32) -> list["_Pass"]:
    """Every cell's forward pass, from the features up."""
    passes: list[_Pass] = []
    for row, arrays in zip(plan[:-1], layers[:-1], strict=True):
        passes.append(_Pass(int(row[KIND]), passes[-1].hs if passes else below, arrays))
    return passes


def _errors(ys: F32, Y: F32, scored_from: int) -> tuple[F32, int]:
    """Y - y* where it is scored, else 0, (T B, K); and the number of scored outputs."""
    targets = Y.reshape(ys.shape)
    scored = np.isfinite(targets)  # asked of the target alone: a network that diverged must show in the loss
    scored[: scored_from * Y.shape[1]] = False
    return np.where(scored, ys - targets, np.float32(0.0)), int(scored.sum())


def _through_weights(dz: F32, W: F32, shape: tuple[int, ...]) -> F32:
    """Gradient of a layer's inputs from the gradient of its sums: dz W^T."""
    below = np.zeros((len(dz), W.shape[0]), dtype=np.float32)
    accumulate_rows(dz, np.ascontiguousarray(W.T), below)
    return below.reshape(shape)


class _Pass:
    """One cell's forward pass over a batch, kept for its backward pass. Starts from the zero state."""

    def __init__(self, kind: int, X: F32, arrays: Arrays) -> None:
        T, B, _ = X.shape
        H = arrays["U"].shape[0]
        self.kind, self.X, self.arrays = kind, X, arrays
        self.zero = np.zeros((B, H), dtype=np.float32)
        self.hs = np.empty((T, B, H), dtype=np.float32)
        W, U, b = arrays["W"], arrays["U"], arrays["b"]
        if kind == LSTM:
            self.cs = np.empty((T, B, 2 * H), dtype=np.float32)
            self.gates = np.empty((T, B, 4 * H), dtype=np.float32)
            lstm_forward(X, W, U, b, self.zero, self.zero, self.hs, self.cs, self.gates)
        elif kind in {GRU_RESET_AFTER, GRU_RESET_BEFORE}:
            self.gates = np.empty((T, B, 3 * H), dtype=np.float32)
            self.recurrent = np.empty((T, B, H), dtype=np.float32)
            after = kind == GRU_RESET_AFTER
            gru_forward(X, W, U, arrays["U_n"], b, after, self.zero, self.hs, self.gates, self.recurrent)
        else:
            elman_forward(X, W, U, b, kind == ELMAN_RELU, self.zero, self.hs)

    def backward(self, dhs: F32, d: Arrays) -> F32:
        """Add this cell's gradients; return the gradient of its sums x W + ..., (T B, columns of W)."""
        U, zero = self.arrays["U"], self.zero
        if self.kind == LSTM:
            lstm_backward(self.X, U, zero, zero, self.hs, self.cs, self.gates, dhs, d["W"], d["U"], d["b"])
            sums = self.gates
        elif self.kind in {GRU_RESET_AFTER, GRU_RESET_BEFORE}:
            after, U_n = self.kind == GRU_RESET_AFTER, self.arrays["U_n"]
            gates, recurrent = self.gates, self.recurrent
            gru_backward(
                self.X, U, U_n, after, zero, self.hs, gates, recurrent, dhs, d["W"], d["U"], d["U_n"], d["b"]
            )
            sums = gates
        else:
            elman_backward(self.X, U, self.kind == ELMAN_RELU, zero, self.hs, dhs, d["W"], d["U"], d["b"])
            sums = dhs
        return sums.reshape(-1, sums.shape[-1])


def _drop(values: F32, share: float, rng: np.random.Generator) -> tuple[F32, F32 | None]:
    """Inverted dropout: the values, and the mask (0 or 1 / kept share) they were multiplied by."""
    if share == 0.0:
        return values, None
    mask = (rng.random(values.shape, dtype=np.float32) >= share) * np.float32(1.0 / (1.0 - share))
    return values * mask, mask


def _activate_rows(code: int, ys: F32) -> None:
    if code == SOFTMAX:
        for row in ys:
            activate(code, row)
    else:
        activate(code, ys.reshape(-1))


def _through_activation(code: int, ys: F32, dys: F32) -> F32:
    """Gradient of the sums from the gradient of the activated outputs."""
    if code == TANH:
        return dys * (1 - ys * ys)
    if code == SIGMOID:
        return dys * ys * (1 - ys)
    if code == SOFTMAX:
        product: NDArray[np.float32] = ys * (dys - np.sum(dys * ys, axis=1, keepdims=True))
        return product
    return dys
