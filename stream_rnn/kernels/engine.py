"""A network packed for stepping: one aligned buffer holds a table, the weights and the scratch.

So a kernel takes one argument for all of it. The table in front is int64: the fields named below, then a row
for each layer and readout. All places are indices of float32 in the buffer.
"""

from typing import cast

import numpy as np

from stream_rnn.kernels import plan as layout
from stream_rnn.kernels._jit import either
from stream_rnn.kernels.packed import pack, padded
from stream_rnn.kernels.vector import LANES
from stream_rnn.sample import F32, I64

ROWS, OWN_AT, TICKET = range(0, 6, 2)
"""Number of layers and readouts; where the caller keeps what is its own; a count of the caller's, of what it
prepared."""
TABLE_AT = 8

KIND, INPUTS, UNITS, STATE_AT, ACTIVATION, SUMS, RECURRENT_SUMS = range(0, 14, 2)
"""Columns: as in a plan; and the number of sums, padded, that the inputs and the units add to."""
W, U, U_N, B, B_U = range(14, 24, 2)
"""Columns: packed weights, and where the sums start."""
A_AT, Q_AT, RESET_AT = range(24, 30, 2)
"""Columns: scratch for a = x W + b, for q = h U, and for r h where a GRU resets before U_n."""
NUMBERS_AT, FEW, PAUSE, LAGS = range(30, 38, 2)
"""Columns: scratch for the numbers of the inputs that are not zero; below how many only those are taken, 0
unless `sparse.tune` measured that it pays; for how many steps they are not counted, being too many; and the
lags of an FIR."""
COLUMNS = 38
"""Of a row. An int64 takes the place of two float32, so fields and columns are two apart."""

GATES = {
    layout.ELMAN_TANH: 1,
    layout.ELMAN_RELU: 1,
    layout.ELMAN_LINEAR: 1,
    layout.GRU_RESET_AFTER: 3,
    layout.GRU_RESET_BEFORE: 3,
    layout.LSTM: 4,
    layout.FIR: 1,
    layout.READOUT: 1,
}
"""Sums a unit needs of its inputs, for each of its layer's lags."""
RECURRENT_GATES = GATES | {layout.GRU_RESET_BEFORE: 2, layout.FIR: 0, layout.READOUT: 0}
"""Sums a unit needs of h, before its update begins."""

LINE = 16  # float32 of a cache line, and of the widest vector


def sums_of(layer: I64) -> int:
    """Number of sums of a plan's row."""
    return int(GATES[int(layer[layout.KIND])] * layer[layout.UNITS] * layer[layout.LAGS])


def make_engine(plan: I64, weights: F32, own: int = 0, *, half: bool = False) -> F32:
    """Pack a network.

    Args:
        plan: As made by `make_plan`.
        weights: Weights, flat, `weights_size(plan)`.
        own: Number of float32 to keep for the caller.
        half: Keep only the upper half of each weight: for those that `fits_half`.

    Returns:
        The engine, seen as int32 if its weights are halved: to the compiler it is another type. Steps write
        into its scratch: not two at a time.
    """
    table = np.zeros((len(plan), COLUMNS // 2), dtype=np.int64)
    parts = _Parts(TABLE_AT + 2 * table.size)
    for row, layer in zip(table, plan, strict=True):
        columns = _pack_layer(layer, weights, parts, half=half)
        row[[column // 2 for column in columns]] = list(columns.values())
    own_at = parts.put(np.zeros(own, dtype=np.float32))
    fields = np.array([len(plan), own_at, 0, 0], dtype=np.int64)
    engine = parts.joined(np.concatenate([fields, table.reshape(-1)]).view(np.float32))
    return cast("F32", engine.view(np.int32)) if half and LANES > 1 else engine


class _Parts:
    """What goes into an engine behind its table, each part at the beginning of a cache line."""

    def __init__(self, head: int) -> None:
        self._arrays: list[tuple[int, F32]] = []
        self._end = _whole(head, LINE)

    def put(self, values: F32) -> int:
        """Add a part; its index in the engine."""
        at = self._end
        self._arrays.append((at, values.reshape(-1)))
        self._end += _whole(values.size, LINE)
        return at

    def joined(self, head: F32) -> F32:
        """All of it in one aligned array."""
        room = np.zeros(self._end + LINE, dtype=np.float32)
        first = -(room.ctypes.data // room.itemsize) % LINE
        engine = room[first : first + self._end]
        for at, values in ((0, head), *self._arrays):
            engine[at : at + values.size] = values
        return engine


def _pack_layer(layer: I64, weights: F32, parts: _Parts, *, half: bool) -> dict[int, int]:
    """Put one layer's weights and scratch into the engine; give the columns of its row."""
    kind, H = int(layer[layout.KIND]), int(layer[layout.UNITS])
    arrays = layout.arrays(layer, weights)
    sums, recurrent_sums = sums_of(layer), RECURRENT_GATES[kind] * H
    # -0 becomes 0: else the sign of an empty sum would tell whether inputs that are zero were left out.
    biases = arrays["b"][:sums] + np.float32(0.0)
    # An update loads whole vectors from each gate's first sum on: the last reaches behind the last gate.
    scratch = np.zeros(padded(sums) + LANES, dtype=np.float32)
    row = {
        KIND: kind,
        INPUTS: int(layer[layout.INPUTS]),
        UNITS: H,
        STATE_AT: int(layer[layout.STATE_AT]),
        ACTIVATION: int(layer[layout.ACTIVATION]),
        LAGS: int(layer[layout.LAGS]),
        SUMS: padded(sums),
        RECURRENT_SUMS: padded(recurrent_sums),
        W: parts.put(pack(arrays["W"], half=half)),
        B: parts.put(_padded(biases)),
    }
    if recurrent_sums:
        recurrent, b_u = arrays["U"], np.zeros(recurrent_sums, dtype=np.float32)
        if kind == layout.GRU_RESET_AFTER:
            recurrent, b_u[2 * H :] = np.hstack([recurrent, arrays["U_n"]]), arrays["b"][3 * H :]
        row |= {U: parts.put(pack(recurrent, half=half)), B_U: parts.put(_padded(b_u))}
    if kind == layout.GRU_RESET_BEFORE:
        row |= {
            U_N: parts.put(pack(arrays["U_n"], half=half)),
            RESET_AT: parts.put(np.zeros(H, dtype=np.float32)),
        }
    numbers = np.zeros(2 * int(layer[layout.INPUTS]), dtype=np.float32)
    return row | {A_AT: parts.put(scratch), Q_AT: parts.put(scratch), NUMBERS_AT: parts.put(numbers)}


def _padded(values: F32) -> F32:
    return np.pad(values, (0, padded(len(values)) - len(values)))


def _whole(size: int, unit: int) -> int:
    return -(-size // unit) * unit


@either
def row_of(layer: int) -> int:
    """Where the row of a layer, or of a readout, starts in the table."""
    return TABLE_AT + layer * COLUMNS
