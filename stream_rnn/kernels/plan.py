"""Where a network's weights and states lie: a small integer table that every other room reads.

One row a layer and a row for the readout, columns as named below; an ensemble has those of each member, one
member behind the other. Weights and states are flat float32
buffers; a layer's weights stand together in the order of `WEIGHTS`, row-major. This is the order of training
and of model files; `engine` packs it anew for stepping.
"""

from collections.abc import Callable, Sequence

import numpy as np

from stream_rnn.sample import F32, I64

ELMAN_TANH, ELMAN_RELU, ELMAN_LINEAR, GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, FIR, READOUT = range(8)
KIND, INPUTS, UNITS, WEIGHTS_AT, STATE_AT, ACTIVATION, LAGS = range(7)
COLUMNS = 7

Shape = tuple[int, ...]
WEIGHTS: dict[int, Callable[[int, int], dict[str, Shape]]] = {
    ELMAN_TANH: lambda D, H: {"W": (D, H), "U": (H, H), "b": (H,)},
    ELMAN_RELU: lambda D, H: {"W": (D, H), "U": (H, H), "b": (H,)},
    ELMAN_LINEAR: lambda D, H: {"W": (D, H), "U": (H, H), "b": (H,)},
    GRU_RESET_AFTER: lambda D, H: {"W": (D, 3 * H), "U": (H, 2 * H), "U_n": (H, H), "b": (4 * H,)},
    GRU_RESET_BEFORE: lambda D, H: {"W": (D, 3 * H), "U": (H, 2 * H), "U_n": (H, H), "b": (4 * H,)},
    LSTM: lambda D, H: {"W": (D, 4 * H), "U": (H, 4 * H), "b": (4 * H,)},
    FIR: lambda D, LH: {"W": (D, LH), "b": (LH,)},
    READOUT: lambda D, K: {"W": (D, K), "b": (K,)},
}
"""Names and shapes of a layer's arrays in their order in the buffer, by kind, from inputs D and units H. An
FIR has H sums for each of its lags."""

STATES = {
    ELMAN_TANH: 1,
    ELMAN_RELU: 1,
    ELMAN_LINEAR: 1,
    GRU_RESET_AFTER: 1,
    GRU_RESET_BEFORE: 1,
    LSTM: 2,
    FIR: 1,
    READOUT: 0,
}
"""State vectors of H values a layer keeps for each of its lags: h, and for the LSTM c behind it."""


def layer_size(kind: int, inputs: int, units: int) -> int:
    """Number of float32 weights of one layer."""
    return sum(int(np.prod(shape)) for shape in WEIGHTS[kind](inputs, units).values())


def make_plan(
    inputs: int, layers: Sequence[tuple[int, int, int]], outputs: int, activation: int, members: int = 1
) -> I64:
    """Lay out a network, or several alike whose outputs are added up.

    Args:
        inputs: Number of features D.
        layers: (kind, units, lags) of each cell, the first takes the features. Lags are 1, but of an FIR.
        outputs: Number of outputs K.
        activation: Code of the readout's activation.
        members: How many networks.

    Returns:
        The plan, (members (layers + 1), COLUMNS).
    """
    plan = np.zeros((members * (len(layers) + 1), COLUMNS), dtype=np.int64)
    weights_at = state_at = 0
    taken = inputs
    for row, (kind, units, lags) in enumerate([*layers, (READOUT, outputs, 1)] * members):
        plan[row] = kind, taken, units, weights_at, state_at, activation if kind == READOUT else 0, lags
        weights_at += layer_size(kind, taken, units * lags)
        state_at += STATES[kind] * units * lags
        taken = inputs if kind == READOUT else units
    return plan


def first_layers(plan: I64) -> list[int]:
    """Rows of the layers that take the features: the first of each member."""
    return [0, *(int(row) + 1 for row in np.flatnonzero(plan[:-1, KIND] == READOUT))]


def weights_size(plan: I64) -> int:
    """Number of float32 in the weights buffer of a plan."""
    kind, inputs, units, weights_at = (int(v) for v in plan[-1, :STATE_AT])
    return weights_at + layer_size(kind, inputs, units)


def state_size(plan: I64) -> int:
    """Number of float32 in one stream's state."""
    return int(plan[-1, STATE_AT])


def arrays(row: I64, weights: F32) -> dict[str, F32]:
    """One layer's arrays by name, as views of the flat weights.

    Args:
        row: Of the plan.
        weights: Weights, flat.
    """
    at, named = int(row[WEIGHTS_AT]), {}
    for name, shape in WEIGHTS[int(row[KIND])](int(row[INPUTS]), int(row[UNITS] * row[LAGS])).items():
        size = int(np.prod(shape))
        named[name] = weights[at : at + size].reshape(shape)
        at += size
    return named
