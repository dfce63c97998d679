"""The inner loop of every product, in LLVM IR: sums of a panel stay in registers while its rows stream by."""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from stream_rnn.kernels._vector import INT, LANES, address, builtin, data, multiply_add, spread

PANEL = 13
"""Most vectors of a panel."""
ROWS = 6
"""Rows of X that `tile` multiplies with each load of W."""
TILE = 4 if LANES == 16 else 2
"""Most vectors of a tile: ROWS x TILE sums, TILE weights and a factor fit into 32 registers, or 16."""

Matrix = tuple[Any, Any, Any]  # address, index of the first value, distance of the rows


def _loop(builder: ir.IRBuilder, matrices: tuple[Matrix, ...], rows: ir.Value, M: int, V: int) -> None:
    """z[m] = start[m] + x[m, 0] w[0] + x[m, 1] w[1] + ..., in this order, for M rows of V vectors."""
    z, start, x, w = matrices

    def row(matrix: Matrix, m: ir.Value) -> ir.Value:
        return builder.add(matrix[1], builder.mul(matrix[2], m))

    def vectors(matrix: Matrix, m: ir.Value) -> list[ir.Value]:
        at = row(matrix, m)
        places = [builder.add(at, ir.Constant(INT, v * LANES)) for v in range(V)]
        return [address(builder, matrix[0], place) for place in places]

    numbers = [ir.Constant(INT, m) for m in range(M)]
    sums = [
        [cgutils.alloca_once_value(builder, builder.load(v, align=4)) for v in vectors(start, m)]
        for m in numbers
    ]
    with cgutils.for_range(builder, rows) as loop:
        weights = [builder.load(v, align=4) for v in vectors(w, loop.index)]
        for m in range(M):
            place = builder.add(row(x, numbers[m]), loop.index)
            factor = spread(builder, builder.load(builder.gep(x[0], [place])))
            for v in range(V):
                grown = multiply_add(builder, factor, weights[v], builder.load(sums[m][v]))
                builder.store(grown, sums[m][v])
    for m in range(M):
        for held, place in zip(sums[m], vectors(z, numbers[m]), strict=True):
            builder.store(builder.load(held), place, align=4)


def _by_width(M: int, widest: int) -> Any:
    """Code that takes the loop for as many vectors as its last argument says."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        z, start, x, w = (
            (data(context, builder, signature.args[i], values[i]), values[i + 1], values[i + 2])
            for i in (0, 3, 6, 9)
        )
        rows, width = values[12], values[13]
        end = builder.append_basic_block()
        blocks = [builder.append_basic_block() for _ in range(widest)]
        choice = builder.switch(width, end)
        for V, block in enumerate(blocks, 1):
            choice.add_case(ir.Constant(INT, V), block)
            builder.position_at_end(block)
            _loop(builder, (z, start, x, w), rows, M, V)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return generate


def _product(M: int, widest: int) -> Any:
    @builtin
    def product(
        _: Any,
        z: types.Array,
        z_at: Any,
        z_stride: Any,
        start: types.Array,
        start_at: Any,
        start_stride: Any,
        x: types.Array,
        x_at: Any,
        x_stride: Any,
        w: types.Array,
        w_at: Any,
        w_stride: Any,
        rows: Any,
        width: Any,
    ) -> Any:
        del z_at, z_stride, start_at, start_stride, x_at, x_stride, w_at, w_stride, rows, width
        places = (types.intp, types.intp)
        kind = types.void(z, *places, start, *places, x, *places, w, *places, *places)
        return kind, _by_width(M, widest)

    return product


panel = _product(1, PANEL)
"""z = start + x w for one x and 1 to PANEL vectors of columns (the last argument).

Each matrix is an array, the index of its first value and the distance of its rows; the sums may start at z.
"""
tile = _product(ROWS, TILE)
"""Z = start + X W for ROWS rows of X and 1 to TILE vectors of columns; the rest as in `panel`."""
