"""The inner loop of every product in LLVM IR: a panel of columns stays in registers while its rows stream by."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from stream_rnn.kernels._vector import INT, LANES, VECTOR, address, data, multiply_add, spread

PANEL = 8
"""Most vectors of a panel."""
ROWS = 4
"""Rows of X that `tile` multiplies with each load of W."""
TILE = 4 if LANES == 16 else 2
"""Most vectors of a tile: ROWS x TILE sums, TILE weights and a factor fit the registers (32 of AVX-512, 16)."""

Offset = tuple[ir.Value, ir.Value, ir.Value]  # base, index of the first value, stride of the rows


def _loop(
    builder: ir.IRBuilder,
    z: Offset,
    start: Offset,
    x: Offset,
    w: Offset,
    rows: ir.Value,
    shape: tuple[int, int],
) -> None:
    """z[m] = start[m] + x[m, 0] w[0] + x[m, 1] w[1] + ..., in this order, for shape = M rows of V vectors."""
    M, V = shape
    lanes = [ir.Constant(INT, v * LANES) for v in range(V)]

    def row(what: Offset, m: int) -> ir.Value:
        return builder.add(what[1], builder.mul(what[2], ir.Constant(INT, m)))

    def vectors(what: Offset, m: int) -> list[ir.Value]:
        return [address(builder, what[0], builder.add(row(what, m), lane)) for lane in lanes]

    sums = [[builder.load(where, align=4) for where in vectors(start, m)] for m in range(M)]
    factors = [row(x, m) for m in range(M)]
    before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed(">", rows, ir.Constant(INT, 0)), body, after)

    builder.position_at_end(body)
    i, at = builder.phi(INT), builder.phi(INT)
    carried = [[builder.phi(VECTOR) for _ in range(V)] for _ in range(M)]
    weights = [builder.load(address(builder, w[0], builder.add(at, lane)), align=4) for lane in lanes]
    grown = []
    for m in range(M):
        factor = spread(builder, builder.load(builder.gep(x[0], [builder.add(factors[m], i)])))
        grown.append([multiply_add(builder, factor, weights[v], carried[m][v]) for v in range(V)])
    following = builder.add(i, ir.Constant(INT, 1))
    further = builder.add(at, w[2])
    builder.cbranch(builder.icmp_signed("<", following, rows), body, after)
    for phi, first, later in ((i, ir.Constant(INT, 0), following), (at, w[1], further)):
        phi.add_incoming(first, before)
        phi.add_incoming(later, body)
    for m in range(M):
        for v in range(V):
            carried[m][v].add_incoming(sums[m][v], before)
            carried[m][v].add_incoming(grown[m][v], body)

    builder.position_at_end(after)
    done = [[builder.phi(VECTOR) for _ in range(V)] for _ in range(M)]
    for m in range(M):
        for v in range(V):
            done[m][v].add_incoming(sums[m][v], before)
            done[m][v].add_incoming(grown[m][v], body)
    for m in range(M):
        for value, where in zip(done[m], vectors(z, m), strict=True):
            builder.store(value, where, align=4)


def _by_width(M: int, widest: int) -> Any:
    """Code that takes the loop for as many vectors as its last argument says."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        arrays = [
            (data(context, builder, signature.args[i], values[i]), values[i + 1], values[i + 2])
            for i in (0, 3, 6, 9)
        ]
        rows, width = values[12], values[13]
        end = builder.append_basic_block()
        blocks = [builder.append_basic_block() for _ in range(widest)]
        choice = builder.switch(width, end)
        for V, block in enumerate(blocks, 1):
            choice.add_case(ir.Constant(INT, V), block)
            builder.position_at_end(block)
            _loop(builder, *arrays, rows, (M, V))
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return generate


def _product(M: int, widest: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
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
