"""The inner loop of a weight gradient, in LLVM IR: a tile stays in registers while the rows stream by."""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from stream_rnn.kernels._panel import ROWS, TILE, Matrix
from stream_rnn.kernels._vector import INT, LANES, address, builtin, data, multiply_add, spread


def _held(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A variable that holds a value."""
    return cgutils.alloca_once_value(builder, value)  # type: ignore[no-untyped-call]


def _loop(builder: ir.IRBuilder, matrices: tuple[Matrix, ...], rows: ir.Value, V: int) -> None:
    """dw[d] = start[d] + x[0, d] dz[0] + x[1, d] dz[1] + ..., in this order, for ROWS rows of V vectors."""
    dw, start, x, dz = matrices

    def row(matrix: Matrix, m: ir.Value) -> ir.Value:
        return builder.add(matrix[1], builder.mul(matrix[2], m))

    def vectors(matrix: Matrix, m: ir.Value) -> list[ir.Value]:
        at = row(matrix, m)
        places = [builder.add(at, ir.Constant(INT, v * LANES)) for v in range(V)]
        return [address(builder, matrix[0], place) for place in places]

    numbers = [ir.Constant(INT, d) for d in range(ROWS)]
    sums = [[_held(builder, builder.load(v, align=4)) for v in vectors(start, d)] for d in numbers]
    with cgutils.for_range(builder, rows) as loop:
        gradients = [builder.load(v, align=4) for v in vectors(dz, loop.index)]
        at = row(x, loop.index)
        for d in range(ROWS):
            place = builder.add(at, numbers[d])
            factor = spread(builder, builder.load(builder.gep(x[0], [place])))
            for v in range(V):
                grown = multiply_add(builder, factor, gradients[v], builder.load(sums[d][v]))
                builder.store(grown, sums[d][v])
    for d in range(ROWS):
        for held, place in zip(sums[d], vectors(dw, numbers[d]), strict=True):
            builder.store(builder.load(held), place, align=4)


def _generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
    """Take the loop for as many vectors as the last argument says."""
    matrices = tuple(
        (data(context, builder, signature.args[i], values[i]), values[i + 1], values[i + 2])
        for i in (0, 3, 6, 9)
    )
    rows, width = values[12], values[13]
    end = builder.append_basic_block()
    blocks = [builder.append_basic_block() for _ in range(TILE)]
    choice = builder.switch(width, end)
    for V, block in enumerate(blocks, 1):
        choice.add_case(ir.Constant(INT, V), block)
        builder.position_at_end(block)
        _loop(builder, matrices, rows, V)
        builder.branch(end)
    builder.position_at_end(end)
    return context.get_dummy_value()


@builtin
def outer_tile(
    _: Any,
    dw: types.Array,
    dw_at: Any,
    dw_stride: Any,
    start: types.Array,
    start_at: Any,
    start_stride: Any,
    x: types.Array,
    x_at: Any,
    x_stride: Any,
    dz: types.Array,
    dz_at: Any,
    dz_stride: Any,
    rows: Any,
    width: Any,
) -> Any:
    """dW = start + X^T dZ for ROWS columns of X and 1 to TILE vectors of columns of dZ, over `rows` rows.

    Each matrix is an array, the index of its first value and the distance of its rows; sums may start at dW.
    """
    del dw_at, dw_stride, start_at, start_stride, x_at, x_stride, dz_at, dz_stride, rows, width
    places = (types.intp, types.intp)
    return types.void(dw, *places, start, *places, x, *places, dz, *places, *places), _generate
