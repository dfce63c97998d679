"""The inner loop of every product, in LLVM IR: sums of a panel stay in registers while its rows stream by.

An array of int32 in the place of w says that its weights are halved. Each loop is a function of its own that
is not copied into its callers: a processor calls it in a nanosecond, the compiler works on it once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from stream_rnn.kernels._vector import (
    FLOAT,
    INT,
    LANES,
    VECTOR,
    address,
    builtin,
    data,
    multiply_add,
    spread,
)

PANEL = 8 if LANES == 16 else 6
"""Most vectors of a panel: enough sums to hide the time of one multiply-add, in whole tiles."""
SMALL = 1 << 18
"""Weights of a matrix that stays in the second-level cache, beside others."""
ROWS = 6
"""Rows of X that `tile` multiplies with each load of W."""
PAIR = 2
"""Rows of `pair`, for those that are left over."""
TILE = 4 if LANES == 16 else 2
"""Most vectors of a tile: ROWS x TILE sums, TILE weights and a factor fit into 32 registers, or 16."""

FLOATS = FLOAT.as_pointer()
INTS = INT.as_pointer()
HALVES, WORDS = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(32), LANES)


class Matrix(NamedTuple):
    """A matrix in a flat array: its address, index of its first value, distance of its rows.

    Where it is halved, each value is the upper half of a float32 (bfloat16), and halves are counted.
    """

    base: Any
    at: Any
    stride: Any
    halved: bool = False

    def place(self, builder: ir.IRBuilder, row: ir.Value) -> ir.Value:
        """Index of a row's first value."""
        return builder.add(self.at, builder.mul(self.stride, row))

    def vectors(self, builder: ir.IRBuilder, row: ir.Value, V: int) -> list[ir.Value]:
        """Addresses of the first V vectors of a row."""
        at = self.place(builder, row)
        places = [builder.add(at, ir.Constant(INT, v * LANES)) for v in range(V)]
        return [address(builder, self.base, place) for place in places]

    def load(self, builder: ir.IRBuilder, row: ir.Value, V: int) -> list[ir.Value]:
        """The first V vectors of a row."""
        if not self.halved:
            return [builder.load(v, align=4) for v in self.vectors(builder, row, V)]
        base, at = builder.bitcast(self.base, ir.IntType(16).as_pointer()), self.place(builder, row)
        loaded = []
        for v in range(0, V, 2):
            where = builder.gep(base, [builder.add(at, ir.Constant(INT, v * LANES))])
            loaded += _whole(builder, where, min(2, V - v))
        return loaded


def _whole(builder: ir.IRBuilder, where: ir.Value, count: int) -> list[ir.Value]:
    """One or two vectors of float32 of their upper halves, as `halved` lays them."""
    sixteen = ir.Constant(WORDS, [16] * LANES)
    if count == 1:
        upper = builder.load(builder.bitcast(where, HALVES.as_pointer()), align=2)
        words = [builder.shl(builder.zext(upper, WORDS), sixteen)]
    else:
        both = builder.load(builder.bitcast(where, WORDS.as_pointer()), align=2)
        words = [builder.shl(both, sixteen), builder.and_(both, ir.Constant(WORDS, [0xFFFF0000] * LANES))]
    return [builder.bitcast(word, VECTOR) for word in words]


class Form(NamedTuple):
    """What kind of product.

    Attributes:
        rows: Rows of z, M.
        widest: Most vectors of their columns.
        listed: Whether only those rows of w are taken that a list names.
        transposed: Whether x stands row by row of w: the product is x^T w.
        halved: Whether w is.
    """

    rows: int
    widest: int
    listed: bool = False
    transposed: bool = False
    halved: bool = False


class Job(NamedTuple):
    """z = start + x w, over so many rows of w, or over those that a list names."""

    z: Matrix
    start: Matrix
    x: Matrix
    w: Matrix
    rows: Any
    numbers: Any


def _held(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A variable that holds a value."""
    return cgutils.alloca_once_value(builder, value)  # type: ignore[no-untyped-call]


def _loop(builder: ir.IRBuilder, job: Job, form: Form, V: int) -> None:
    """z[m] = start[m] + x[m, 0] w[0] + x[m, 1] w[1] + ..., in this order, for M rows of V vectors."""
    M = form.rows
    numbers = [ir.Constant(INT, m) for m in range(M)]
    sums = [[_held(builder, value) for value in job.start.load(builder, m, V)] for m in numbers]
    with cgutils.for_range(builder, job.rows) as loop:
        i = loop.index
        if form.listed:
            i = builder.load(builder.gep(job.numbers, [i]), align=4)
        weights = job.w.load(builder, i, V)
        for m in range(M):
            row, column = (i, numbers[m]) if form.transposed else (numbers[m], i)
            place = builder.add(job.x.place(builder, row), column)
            factor = spread(builder, builder.load(builder.gep(job.x.base, [place])))
            for v in range(V):
                grown = multiply_add(builder, factor, weights[v], builder.load(sums[m][v]))
                builder.store(grown, sums[m][v])
    for m in range(M):
        for held, place in zip(sums[m], job.z.vectors(builder, numbers[m], V), strict=True):
            builder.store(builder.load(held), place, align=4)


def _function(module: ir.Module, name: str, form: Form) -> ir.Function:
    """The loop for as many vectors as its last argument says, defined once in a module."""
    arguments = [FLOATS, INT, INT] * 4 + [INT, INT] + [INTS] * form.listed
    function = cgutils.get_or_insert_function(module, ir.FunctionType(ir.VoidType(), arguments), name)  # type: ignore[no-untyped-call]
    if not function.is_declaration:
        return function
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    given = function.args
    z, start, x, w = (Matrix(*given[i : i + 3]) for i in (0, 3, 6, 9))
    job = Job(z, start, x, w._replace(halved=form.halved), given[12], given[14] if form.listed else None)
    end = function.append_basic_block()
    blocks = [function.append_basic_block() for _ in range(form.widest)]
    choice = builder.switch(given[13], end)
    for V, block in enumerate(blocks, 1):
        choice.add_case(ir.Constant(INT, V), block)
        builder.position_at_end(block)
        _loop(builder, job, form, V)
        builder.branch(end)
    builder.position_at_end(end)
    builder.ret_void()
    return function


def _call(name: str, form: Form) -> Callable[..., ir.Value]:
    """Code that calls the loop with numba's arrays, indices and numbers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        arguments = list(values[:14])
        for i in (0, 3, 6, 9):
            base = data(context, builder, signature.args[i], values[i])
            arguments[i] = builder.bitcast(base, FLOATS)
        halved = signature.args[9].dtype == types.int32
        if form.listed:
            base = data(context, builder, signature.args[14], values[14])
            arguments.append(address(builder, base, values[15], INT))
        whole = f"stream_rnn.{name}.{LANES}{'.halved' * halved}"
        builder.call(_function(builder.module, whole, form._replace(halved=halved)), arguments)
        return context.get_dummy_value()

    return generate


def _product(name: str, form: Form) -> Any:
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
        return kind, _call(name, form)

    return product


panel = _product("panel", Form(1, PANEL))
"""z = start + x w for one x and 1 to PANEL vectors of columns (the last argument).

Each matrix is an array, the index of its first value and the distance of its rows; the sums may start at z.
"""
tile = _product("tile", Form(ROWS, TILE))
"""Z = start + X W for ROWS rows of X and 1 to TILE vectors of columns; the rest as in `panel`."""
pair = _product("pair", Form(PAIR, TILE))
"""The same for PAIR rows."""
outer_tile = _product("outer", Form(ROWS, TILE, transposed=True))
"""Z = start + X^T W for ROWS columns of X and 1 to TILE vectors of columns of W."""


@builtin
def first_weight(_: Any, w: types.Array, at: Any) -> Any:
    """Index of the weight that lies at float32 `at` of w, in the weights' own count."""
    del at
    double = w.dtype == types.int32

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        del context, signature
        return builder.add(values[1], values[1]) if double else values[1]

    return types.intp(w, types.intp), generate


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
    return kind, _call("panel_listed", Form(1, PANEL, listed=True))
