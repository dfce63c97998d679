"""The inner loop of every product, in LLVM IR: sums of a panel stay in registers while its rows stream by.

Each loop is a function of its own that is not copied into its callers: a processor calls it in a nanosecond, the
compiler works on it once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from stream_rnn.kernels._vector import FLOAT, INT, LANES, address, builtin, data, multiply_add, spread

PANEL = 13
"""Most vectors of a panel: as many sums, a factor and a weight fit into 16 registers."""
ROWS = 6
"""Rows of X that `tile` multiplies with each load of W."""
PAIR = 2
"""Rows of `pair`, for those that are left over."""
TILE = 4 if LANES == 16 else 2
"""Most vectors of a tile: ROWS x TILE sums, TILE weights and a factor fit into 32 registers, or 16."""

FLOATS = FLOAT.as_pointer()
INTS = INT.as_pointer()


class Matrix(NamedTuple):
    """A matrix in a flat array: its address, index of its first value, distance of its rows."""

    base: Any
    at: Any
    stride: Any

    def place(self, builder: ir.IRBuilder, row: ir.Value) -> ir.Value:
        """Index of a row's first value."""
        return builder.add(self.at, builder.mul(self.stride, row))

    def vectors(self, builder: ir.IRBuilder, row: ir.Value, V: int) -> list[ir.Value]:
        """Addresses of the first V vectors of a row."""
        at = self.place(builder, row)
        places = [builder.add(at, ir.Constant(INT, v * LANES)) for v in range(V)]
        return [address(builder, self.base, place) for place in places]


class Job(NamedTuple):
    """z = start + x w; where there is a list, over the rows it names."""

    z: Matrix
    start: Matrix
    x: Matrix
    w: Matrix
    rows: Any
    listed: Any = None


def _loop(builder: ir.IRBuilder, job: Job, M: int, V: int) -> None:
    """z[m] = start[m] + x[m, 0] w[0] + x[m, 1] w[1] + ..., in this order, for M rows of V vectors."""
    numbers = [ir.Constant(INT, m) for m in range(M)]
    sums = [
        [
            cgutils.alloca_once_value(builder, builder.load(v, align=4))
            for v in job.start.vectors(builder, m, V)
        ]
        for m in numbers
    ]
    with cgutils.for_range(builder, job.rows) as loop:
        i = loop.index
        if job.listed is not None:
            i = builder.load(builder.gep(job.listed, [i]), align=4)
        weights = [builder.load(v, align=4) for v in job.w.vectors(builder, i, V)]
        for m in range(M):
            place = builder.add(job.x.place(builder, numbers[m]), i)
            factor = spread(builder, builder.load(builder.gep(job.x.base, [place])))
            for v in range(V):
                grown = multiply_add(builder, factor, weights[v], builder.load(sums[m][v]))
                builder.store(grown, sums[m][v])
    for m in range(M):
        for held, place in zip(sums[m], job.z.vectors(builder, numbers[m], V), strict=True):
            builder.store(builder.load(held), place, align=4)


def _function(module: ir.Module, name: str, M: int, widest: int, listed: bool) -> ir.Function:  # noqa: FBT001
    """The loop for as many vectors as its last argument says, defined once in a module."""
    arguments = [FLOATS, INT, INT] * 4 + [INT, INT] + [INTS] * listed
    function = cgutils.get_or_insert_function(module, ir.FunctionType(ir.VoidType(), arguments), name)  # type: ignore[no-untyped-call]
    if not function.is_declaration:
        return function
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    given = function.args
    matrices = [Matrix(*given[i : i + 3]) for i in (0, 3, 6, 9)]
    job = Job(*matrices, given[12], given[14] if listed else None)
    end = function.append_basic_block()
    blocks = [function.append_basic_block() for _ in range(widest)]
    choice = builder.switch(given[13], end)
    for V, block in enumerate(blocks, 1):
        choice.add_case(ir.Constant(INT, V), block)
        builder.position_at_end(block)
        _loop(builder, job, M, V)
        builder.branch(end)
    builder.position_at_end(end)
    builder.ret_void()
    return function


def _call(name: str, M: int, widest: int) -> Callable[..., ir.Value]:
    """Code that calls the loop with numba's arrays, indices and numbers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        arguments = list(values[:14])
        for i in (0, 3, 6, 9):
            arguments[i] = data(context, builder, signature.args[i], values[i])
        listed = len(values) > 14
        if listed:
            base = data(context, builder, signature.args[14], values[14])
            arguments.append(address(builder, base, values[15], INT))
        builder.call(_function(builder.module, f"stream_rnn.{name}.{LANES}", M, widest, listed), arguments)
        return context.get_dummy_value()

    return generate


def _product(name: str, M: int, widest: int) -> Any:
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
        return kind, _call(name, M, widest)

    return product


panel = _product("panel", 1, PANEL)
"""z = start + x w for one x and 1 to PANEL vectors of columns (the last argument).

Each matrix is an array, the index of its first value and the distance of its rows; the sums may start at z.
"""
tile = _product("tile", ROWS, TILE)
"""Z = start + X W for ROWS rows of X and 1 to TILE vectors of columns; the rest as in `panel`."""
pair = _product("pair", PAIR, TILE)
"""The same for PAIR rows."""


@builtin
def panel_listed(
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
    numbers: types.Array,
    numbers_at: Any,
) -> Any:
    """`panel` over the rows that a list names: int64 in the place of two float32 each, from `numbers_at`."""
    del z_at, z_stride, start_at, start_stride, x_at, x_stride, w_at, w_stride, rows, width, numbers_at
    places = (types.intp, types.intp)
    kind = types.void(z, *places, start, *places, x, *places, w, *places, *places, numbers, types.intp)
    return kind, _call("panel_listed", 1, PANEL)
