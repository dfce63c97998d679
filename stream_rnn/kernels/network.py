"""A stack of cells and a dense readout as flat arrays: one compiled step for every architecture.

Plan (int64), one row a layer and a last row for the readout, columns as named below. Weights, state and
scratch are flat float32 buffers; a layer's weights stand together in the order of `WEIGHTS`, row-major.
"""

from collections.abc import Callable, Sequence

import numpy as np

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import activate
from stream_rnn.kernels.elman import elman_step
from stream_rnn.kernels.gru import gru_step
from stream_rnn.kernels.linear import accumulate
from stream_rnn.kernels.lstm import lstm_step
from stream_rnn.sample import F32, I64

ELMAN_TANH, ELMAN_RELU, GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, READOUT = range(6)
KIND, INPUTS, UNITS, WEIGHTS_AT, STATE_AT, ACTIVATION = range(6)
COLUMNS = 6

Shape = tuple[int, ...]
WEIGHTS: dict[int, Callable[[int, int], dict[str, Shape]]] = {
    ELMAN_TANH: lambda D, H: {"W": (D, H), "U": (H, H), "b": (H,)},
    ELMAN_RELU: lambda D, H: {"W": (D, H), "U": (H, H), "b": (H,)},
    GRU_RESET_AFTER: lambda D, H: {"W": (D, 3 * H), "U": (H, 2 * H), "U_n": (H, H), "b": (4 * H,)},
    GRU_RESET_BEFORE: lambda D, H: {"W": (D, 3 * H), "U": (H, 2 * H), "U_n": (H, H), "b": (4 * H,)},
    LSTM: lambda D, H: {"W": (D, 4 * H), "U": (H, 4 * H), "b": (4 * H,)},
    READOUT: lambda D, K: {"W": (D, K), "b": (K,)},
}
"""Names and shapes of a layer's arrays in their order in the buffer, by kind, from inputs D and units H."""

STATES = {ELMAN_TANH: 1, ELMAN_RELU: 1, GRU_RESET_AFTER: 1, GRU_RESET_BEFORE: 1, LSTM: 2, READOUT: 0}
"""State vectors of H values a layer keeps: h, and for the LSTM c behind it."""

SCRATCH_PER_UNIT = 5  # the LSTM's four gates and the tanh of its cell state


def layer_size(kind: int, inputs: int, units: int) -> int:
    """Number of float32 weights of one layer."""
    return sum(int(np.prod(shape)) for shape in WEIGHTS[kind](inputs, units).values())


def make_plan(inputs: int, layers: Sequence[tuple[int, int]], outputs: int, activation: int) -> I64:
    """Lay out a network.

    Args:
        inputs: Number of features D.
        layers: (kind, units) of each cell, the first takes the features.
        outputs: Number of outputs K.
        activation: Code of the readout's activation.

    Returns:
        The plan, (layers + 1, COLUMNS).
    """
    plan = np.zeros((len(layers) + 1, COLUMNS), dtype=np.int64)
    weights_at = state_at = 0
    for row, (kind, units) in enumerate([*layers, (READOUT, outputs)]):
        plan[row] = kind, inputs, units, weights_at, state_at, activation if kind == READOUT else 0
        weights_at += layer_size(kind, inputs, units)
        state_at += STATES[kind] * units
        inputs = units
    return plan


def weights_size(plan: I64) -> int:
    """Number of float32 in the weights buffer of a plan."""
    kind, inputs, units, weights_at = (int(v) for v in plan[-1, :STATE_AT])
    return weights_at + layer_size(kind, inputs, units)


def state_size(plan: I64) -> int:
    """Number of float32 in one stream's state."""
    return int(plan[-1, STATE_AT])


def scratch_size(plan: I64) -> int:
    """Number of float32 of scratch a step needs."""
    return SCRATCH_PER_UNIT * int(plan[:, UNITS].max())


@kernel
def take(weights: F32, start: int, rows: int, columns: int) -> F32:
    """A matrix (rows, columns) that lies in the flat buffer, without copying."""
    return weights[start : start + rows * columns].reshape(rows, columns)


@kernel
def layer_step(plan: I64, layer: int, weights: F32, x: F32, state: F32, scratch: F32) -> None:
    """Advance one cell of the stack by one sample.

    Args:
        plan: As made by `make_plan`.
        layer: Which row of the plan.
        weights: Weights of the network, flat.
        x: What the layer takes, (D,).
        state: State of the network, flat. This layer's part is overwritten.
        scratch: `scratch_size(plan)` values. Overwritten.
    """
    kind, D, H = plan[layer, KIND], plan[layer, INPUTS], plan[layer, UNITS]
    at, state_at = plan[layer, WEIGHTS_AT], plan[layer, STATE_AT]
    h = state[state_at : state_at + H]
    if kind == LSTM:
        U_at = at + 4 * D * H
        b_at = U_at + 4 * H * H
        c = state[state_at + H : state_at + 2 * H]
        b = weights[b_at : b_at + 4 * H]
        lstm_step(x, take(weights, at, D, 4 * H), take(weights, U_at, H, 4 * H), b, h, c, scratch)
    elif kind in (GRU_RESET_AFTER, GRU_RESET_BEFORE):
        U_at = at + 3 * D * H
        U_n_at = U_at + 2 * H * H
        b_at = U_n_at + H * H
        W, U, U_n = take(weights, at, D, 3 * H), take(weights, U_at, H, 2 * H), take(weights, U_n_at, H, H)
        b = weights[b_at : b_at + 4 * H]
        gru_step(x, W, U, U_n, b, kind == GRU_RESET_AFTER, h, scratch)
    else:
        U_at = at + D * H
        b_at = U_at + H * H
        b = weights[b_at : b_at + H]
        elman_step(x, take(weights, at, D, H), take(weights, U_at, H, H), b, kind == ELMAN_RELU, h, scratch)


@kernel
def step(plan: I64, weights: F32, x: F32, state: F32, scratch: F32, y: F32) -> None:
    """Advance the whole network by one sample, in place.

    Args:
        plan: As made by `make_plan`.
        weights: Weights, flat, `weights_size(plan)`.
        x: Features, (D,).
        state: State of one stream, flat, `state_size(plan)`. Overwritten.
        scratch: `scratch_size(plan)` values. Overwritten.
        y: Outputs, (K,). Overwritten.
    """
    readout = plan.shape[0] - 1
    below = x
    for layer in range(readout):
        layer_step(plan, layer, weights, below, state, scratch)
        at = plan[layer, STATE_AT]
        below = state[at : at + plan[layer, UNITS]]
    H, K, at = plan[readout, INPUTS], plan[readout, UNITS], plan[readout, WEIGHTS_AT]
    b_at = at + H * K
    for k in range(K):
        y[k] = weights[b_at + k]
    accumulate(below, take(weights, at, H, K), y)
    activate(plan[readout, ACTIVATION], y)


@kernel
def run(plan: I64, weights: F32, xs: F32, state: F32, scratch: F32, ys: F32) -> None:
    """Step through a sequence of one stream: the same bits as T calls of `step`.

    Args:
        plan: As made by `make_plan`.
        weights: Weights, flat.
        xs: Features, (T, D).
        state: State of the stream, flat. Overwritten.
        scratch: `scratch_size(plan)` values. Overwritten.
        ys: Outputs, (T, K). Overwritten.
    """
    for t in range(xs.shape[0]):
        step(plan, weights, xs[t], state, scratch, ys[t])


@kernel
def step_streams(plan: I64, weights: F32, xs: F32, states: F32, scratch: F32, ys: F32) -> None:
    """Step many streams by one sample each: the same bits as one `step` a stream.

    Args:
        plan: As made by `make_plan`.
        weights: Weights, flat.
        xs: Features, (S, D).
        states: States, (S, `state_size(plan)`). Overwritten.
        scratch: `scratch_size(plan)` values. Overwritten.
        ys: Outputs, (S, K). Overwritten.
    """
    for s in range(xs.shape[0]):
        step(plan, weights, xs[s], states[s], scratch, ys[s])
