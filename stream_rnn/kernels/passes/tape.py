"""What a training pass writes down: one aligned buffer for a batch of windows of one shape, made once.

It holds the packed weights, what the forward pass keeps for the backward pass, and the gradient before it is
collected. A matrix lies in it row by row, the M = T B rows of a batch in the order of time. There are no
tails: a row ends in room for the lanes of its last vector. States have B rows of zeros in front, those before
the first step: so the state that precedes row m stands at row m, the new one at row m + B.
"""

from typing import NamedTuple

import numpy as np

from stream_rnn.kernels import plan as layout
from stream_rnn.kernels.engine import GATES, LINE, RECURRENT_GATES
from stream_rnn.kernels.packed import padded
from stream_rnn.kernels.passes.outer import ROWS
from stream_rnn.kernels.vector import LANES
from stream_rnn.sample import F32, I64

KIND, INPUTS, UNITS, ACTIVATION, SUMS, RECURRENT_SUMS = range(6)
"""Columns: as in a plan; and the number of sums that the inputs and the units add to."""
W, U, U_N, B, B_U, W_T, U_T, U_N_T, ZERO_AT = range(6, 15)
"""Columns: packed weights, where the sums start, transposed weights, and a row of zeros. 0: it has none."""
X, X_STRIDE, HS, H_STRIDE, GATES_AT, Z_STRIDE, KEPT, SQUASHED = range(15, 23)
"""Columns: inputs (M, D); hidden states (B + M, H); gates (M, SUMS), the stride of all sums. An LSTM keeps
its cell states (B + M, H) and their tanh (M, H); a GRU what `gru_forward` says, (M, H)."""
A, Q, DZ, DQ, DH, DC = range(23, 29)
"""Columns, scratch that the layers share: x W + b (M, SUMS), later its gradient DZ in the same place; h U of
one step (B, RECURRENT_SUMS); the gradient of h U (M, RECURRENT_SUMS), of h (B + M, H), of c (B, H)."""
DW, DU, DU_N, DB, DB_U = range(29, 34)
"""Columns: gradient of the weights, as many columns as they have sums."""
COLUMNS = 34


class Tape(NamedTuple):
    """A buffer, and where things lie in it.

    Attributes:
        values: Flat; every place is an index into it.
        table: A row a layer and one for the readout, (layers + 1, COLUMNS).
        layers: The same rows one by one.
        steps: Steps T of a window.
        batch: Windows B.
    """

    values: F32
    table: I64
    layers: list[I64]
    steps: int
    batch: int

    @property
    def rows(self) -> int:
        """M = T B."""
        return self.steps * self.batch

    def matrix(self, at: int, stride: int, columns: int) -> F32:
        """A matrix that begins at `at`, as a view, (M, columns)."""
        return self.values[at : at + self.rows * stride].reshape(self.rows, stride)[:, :columns]

    def inputs(self, layer: int) -> F32:
        """What a layer takes, a view, (M, D)."""
        row = self.table[layer]
        return self.matrix(row[X], row[X_STRIDE], row[INPUTS])

    def hidden(self, layer: int) -> F32:
        """Hidden states after each step, a view, (M, H)."""
        row = self.table[layer]
        return self.matrix(row[HS] + self.batch * row[H_STRIDE], row[H_STRIDE], row[UNITS])

    def dhidden(self, layer: int) -> F32:
        """Gradient of the hidden states after each step, a view, (M, H)."""
        row = self.table[layer]
        return self.matrix(row[DH] + self.batch * row[H_STRIDE], row[H_STRIDE], row[UNITS])


def make_tape(plan: I64, steps: int, batch: int) -> Tape:
    """Make room for windows of `steps` samples, `batch` at a time.

    Args:
        plan: As made by `make_plan`.
        steps: Steps T of a window.
        batch: Windows B.
    """
    table = np.zeros((len(plan), COLUMNS), dtype=np.int64)
    for row, layer in zip(table, plan, strict=True):
        kind, D, H = (int(layer[column]) for column in (layout.KIND, layout.INPUTS, layout.UNITS))
        row[[KIND, INPUTS, UNITS, ACTIVATION]] = kind, D, H, layer[layout.ACTIVATION]
        row[SUMS], row[RECURRENT_SUMS] = GATES[kind] * H, RECURRENT_GATES[kind] * H
        row[X_STRIDE], row[H_STRIDE], row[Z_STRIDE] = _stride(D), _stride(H), _stride(GATES[kind] * H)
    room, M = _Room(), steps * batch
    _share(table, room, M, batch)
    for row in table:
        _place_weights(row, room)
    table[0, W_T] = 0  # nothing flows back to the features
    for row in table[:-1]:
        _place_states(row, room, M, batch)
    table[1:-1, X] = table[:-2, HS] + batch * table[:-2, H_STRIDE]
    for row in (table[0], table[-1]):  # of their own, because some may be dropped
        row[X] = room.put(M, row[X_STRIDE])
    return Tape(room.made(), table, list(table), steps, batch)


class _Room:
    """What is to be in the buffer, each part at the beginning of a cache line."""

    def __init__(self) -> None:
        self._end = 0

    def put(self, rows: int, columns: int) -> int:
        """Add a part; its index in the buffer."""
        at = self._end
        self._end += -(-(rows * int(columns) + LANES) // LINE) * LINE
        return at

    def made(self) -> F32:
        """All of it, zeros."""
        room = np.zeros(self._end + LINE, dtype=np.float32)
        first = -(room.ctypes.data // room.itemsize) % LINE
        return room[first : first + self._end]


def _stride(columns: int) -> int:
    """Distance of rows: cache lines, an odd number so that a column's values spread over the whole cache."""
    lines = -(-(columns + max(LANES, ROWS)) // LINE)
    return LINE * (lines + 1 - lines % 2)


def _share(table: I64, room: _Room, M: int, batch: int) -> None:
    """Place what all layers use one after the other."""
    widest_z, widest_h = table[:, Z_STRIDE].max(), table[:, [H_STRIDE, X_STRIDE]].max()
    table[:, ZERO_AT] = room.put(1, widest_z + widest_h)
    table[:, A] = table[:, DZ] = table[:, DQ] = room.put(M, widest_z)
    table[:, Q] = room.put(batch, widest_z)
    table[:, DH] = room.put(batch + M, widest_h)
    table[:, DC] = room.put(batch, widest_h)
    if (table[:, KIND] == layout.GRU_RESET_AFTER).any():  # its x W and h U have gradients of their own
        table[table[:, KIND] == layout.GRU_RESET_AFTER, DQ] = room.put(M, widest_z)


def _place_weights(row: I64, room: _Room) -> None:
    """Place one layer's packed weights and their gradient, whose rows `outer` rounds up to whole tiles."""
    kind, D, H = (int(row[column]) for column in (KIND, INPUTS, UNITS))
    N, N_u = padded(int(row[SUMS])), padded(int(row[RECURRENT_SUMS]))
    row[W], row[W_T], row[B] = room.put(D, N), room.put(N, padded(D)), room.put(1, N)
    row[DW], row[DB] = room.put(D + ROWS, N), room.put(1, N)
    if kind == layout.READOUT:
        return
    row[U], row[U_T], row[B_U] = room.put(H, N_u), room.put(N_u, padded(H)), room.put(1, N_u)
    row[DU], row[DB_U] = room.put(H + ROWS, N_u), room.put(1, N_u)
    if kind == layout.GRU_RESET_BEFORE:
        row[U_N], row[U_N_T], row[DU_N] = (room.put(H + ROWS, padded(H)) for _ in range(3))


def _place_states(row: I64, room: _Room, M: int, batch: int) -> None:
    """Place what one layer's forward pass keeps."""
    kind, hidden = row[KIND], row[H_STRIDE]
    row[HS] = room.put(batch + M, hidden)
    if kind in {layout.GRU_RESET_AFTER, layout.GRU_RESET_BEFORE, layout.LSTM}:
        row[GATES_AT], row[KEPT] = room.put(M, row[Z_STRIDE]), room.put(batch + M, hidden)
    if kind == layout.LSTM:
        row[SQUASHED] = room.put(M, hidden)
