"""Weights into a tape, packed as products read them, and the gradient out of it: lists of copies."""

from typing import NamedTuple

import numpy as np

from stream_rnn.kernels import plan as layout
from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.engine import GATES, RECURRENT_GATES
from stream_rnn.kernels.packed import padded, panels_of
from stream_rnn.kernels.passes import tape as places
from stream_rnn.kernels.vector import LANES
from stream_rnn.sample import F32, I64


class Packed(NamedTuple):
    """A packed matrix of the tape: its place, its inputs and its padded columns."""

    at: int
    inputs: int
    columns: int


class Part(NamedTuple):
    """An array of the flat weights, (rows, columns), and what it becomes in the tape.

    Attributes:
        source: Where it begins in the flat weights.
        rows: As said.
        columns: As said.
        packed: The matrix it is part of.
        first: Column of that matrix where it begins.
        transposed: The matrix that its transposed is part of, there from row `first`. At 0: none.
        gradient: Where its gradient's matrix begins, with as many columns as `packed`.
    """

    source: int
    rows: int
    columns: int
    packed: Packed
    first: int
    transposed: Packed
    gradient: int

    def packing(self) -> list[tuple[int, ...]]:
        """Copies that bring it in: source, its steps from row to row and column to column, shape, target."""
        shape, other = (self.rows, self.columns), (self.columns, self.rows)
        there = (self.source, self.columns, 1, *shape, 0, self.first, *self.packed)
        if not self.transposed.at:
            return [there]
        return [there, (self.source, 1, self.columns, *other, self.first, 0, *self.transposed)]

    def collecting(self) -> tuple[int, ...]:
        """The copy that brings its gradient out: source, its step from row to row, shape, target."""
        return self.gradient + self.first, self.packed.columns, self.rows, self.columns, self.source


class Copies(NamedTuple):
    """What to copy, a row each: see `Part`."""

    packing: I64
    collecting: I64


def make_copies(plan: I64, table: I64) -> Copies:
    """List what to copy for the networks of a plan and the tape of a table."""
    parts = [part for layer, row in zip(plan, table, strict=True) for part in _parts(layer, row)]
    packing = [copy for part in parts for copy in part.packing()]
    return Copies(np.array(packing), np.array([part.collecting() for part in parts]))


def _parts(layer: I64, row: I64) -> list[Part]:
    """The arrays of one layer."""
    kind, D, H = (int(layer[column]) for column in (layout.KIND, layout.INPUTS, layout.UNITS))
    at, source = {}, int(layer[layout.WEIGHTS_AT])
    for name, shape in layout.WEIGHTS[kind](D, H).items():
        at[name] = source
        source += int(np.prod(shape))
    sums, recurrent_sums = GATES[kind] * H, RECURRENT_GATES[kind] * H

    def packed(column: int, inputs: int, columns: int) -> Packed:
        return Packed(int(row[column]), inputs, padded(columns))

    none = Packed(0, 0, 0)
    w, w_t = packed(places.W, D, sums), packed(places.W_T, sums, D)
    u, u_t = packed(places.U, H, recurrent_sums), packed(places.U_T, recurrent_sums, H)
    dw, du = int(row[places.DW]), int(row[places.DU])
    parts = [
        Part(at["W"], D, sums, w, 0, w_t, dw),
        Part(at["b"], 1, sums, packed(places.B, 1, sums), 0, none, int(row[places.DB])),
    ]
    if kind == layout.GRU_RESET_AFTER:  # U and U_n side by side: all of them multiply h
        b_u = packed(places.B_U, 1, recurrent_sums)
        parts += [
            Part(at["U"], H, 2 * H, u, 0, u_t, du),
            Part(at["U_n"], H, H, u, 2 * H, u_t, du),
            Part(at["b"] + 3 * H, 1, H, b_u, 2 * H, none, int(row[places.DB_U])),
        ]
    elif kind != layout.READOUT:
        parts.append(Part(at["U"], H, recurrent_sums, u, 0, u_t, du))
    if kind == layout.GRU_RESET_BEFORE:
        u_n, u_n_t = packed(places.U_N, H, H), packed(places.U_N_T, H, H)
        parts.append(Part(at["U_n"], H, H, u_n, 0, u_n_t, int(row[places.DU_N])))
    return parts


@kernel
def pack_all(packing: I64, weights: F32, tape: F32) -> None:
    """Pack a network's weights, as `packed.pack` does.

    Args:
        packing: As made by `make_copies`.
        weights: Weights, flat.
        tape: Values of a tape. Its packed weights are overwritten.
    """
    for copy in packing:
        _pack_part(copy, weights, tape)


@kernel
def _pack_part(copy: I64, weights: F32, tape: F32) -> None:
    """One part of one packed matrix.

    Args:
        copy: As `Part.packing` says.
        weights: Weights, flat.
        tape: Values of a tape. The part is overwritten.
    """
    source, row_step, column_step, rows, columns = copy[0], copy[1], copy[2], copy[3], copy[4]
    first_row, first, at, inputs, N = copy[5], copy[6], copy[7], copy[8], copy[9]
    vectors = N // LANES
    panels = panels_of(inputs, N) if LANES > 1 else 1
    least, more = vectors // panels, vectors % panels
    begin = 0
    for p in range(panels):
        stride = (least + 1 if p < more else least) * LANES
        some, end = max(first, begin), min(first + columns, begin + stride)
        to = at + begin * inputs + first_row * stride + some - begin
        come = source + (some - first) * column_step
        if column_step == 1:
            for i in range(rows if some < end else 0):
                _copy(weights[come + i * row_step :], tape[to + i * stride :], end - some)
        else:  # transposed, `row_step` is 1: a column of the target is a row of the source
            for j in range(end - some):
                _scatter(weights[come + j * column_step :], tape[to + j :], rows, stride)
        begin += stride


@kernel
def _copy(source: F32, target: F32, N: int) -> None:
    """target = source; slices, so that the compiler sees the indices to be in range and makes vector code.

    Args:
        source: N values first.
        target: N values first. Overwritten.
        N: As said.
    """
    for j in range(N):
        target[j] = source[j]


@kernel
def _scatter(source: F32, target: F32, N: int, step: int) -> None:
    """target[0], target[step], ... = source.

    Args:
        source: N values first.
        target: Overwritten.
        N: As said.
        step: As said.
    """
    for j in range(N):
        target[j * step] = source[j]


@kernel
def _add(source: F32, target: F32) -> None:
    """target += source.

    Args:
        source: Values, (N,).
        target: Values, (N,). Added to.
    """
    for j in range(source.shape[0]):
        target[j] += source[j]


@kernel
def collect(collecting: I64, tape: F32, dweights: F32) -> None:
    """Add the gradient of a tape to the flat one.

    Args:
        collecting: As made by `make_copies`.
        tape: Values of a tape.
        dweights: Gradient, flat. Added to.
    """
    for copy in collecting:
        at, stride, rows, columns, to = copy[0], copy[1], copy[2], copy[3], copy[4]
        for i in range(rows):
            come, go = at + i * stride, to + i * columns
            _add(tape[come : come + columns], dweights[go : go + columns])
