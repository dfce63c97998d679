"""A vector of LANES float32 as a type of numba's, in LLVM IR, so that kernels read as equations.

Numba and LLVM have no types for what passes between them here: hence `Any`, in this room and in `_panel`.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from stream_rnn.kernels._lanes import lanes

LANES = lanes()
Vector: TypeAlias = np.float32
"""What a kernel's annotation calls LANES values."""

FLOAT, INT = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)
ALIGN = ir.Constant(ir.IntType(32), 4)


class VectorType(types.Type):
    """LANES float32 in one register."""

    def __init__(self) -> None:
        super().__init__(name=f"Vector({LANES})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, VECTOR)  # type: ignore[no-untyped-call]


vector = VectorType()


def builtin(typed: Callable[..., Any]) -> Any:
    """Numba's intrinsic: from the types of the arguments, a signature and a function that emits its code."""
    return intrinsic(typed)


def declared(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
    """One of LLVM's own functions."""
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}")  # type: ignore[no-untyped-call]


def data(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value) -> ir.Value:
    """Address of an array's first value."""
    return context.make_array(kind)(context, builder, array).data


def address(builder: ir.IRBuilder, base: ir.Value, at: ir.Value, kind: ir.Type = VECTOR) -> ir.Value:
    """Address of what starts `at` float32 after `base`."""
    return builder.bitcast(builder.gep(base, [at]), kind.as_pointer())


def spread(builder: ir.IRBuilder, value: ir.Value, width: int = LANES) -> ir.Value:
    """A vector with `value` in every lane."""
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    undefined = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, zeros)


def multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a b + c, rounded once."""
    function = declared(builder, f"fma.v{a.type.count}f32", a.type, a.type, a.type, a.type)
    return builder.call(function, [a, b, c])


def _whole_or_part(builder: ir.IRBuilder, n: ir.Value) -> Any:
    """Two branches: a whole vector, or its first n lanes. A masked store may cost tens of cycles."""
    return builder.if_else(builder.icmp_signed(">=", n, ir.Constant(INT, LANES)), likely=True)


def _first_lanes(builder: ir.IRBuilder, n: ir.Value) -> ir.Value:
    """Mask of the first n lanes."""
    order = ir.Constant(ir.VectorType(INT, LANES), list(range(LANES)))
    return builder.icmp_signed(">", spread(builder, n), order)


@builtin
def load(_: Any, array: types.Array, at: types.Integer) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base = data(context, builder, signature.args[0], values[0])
        return builder.load(address(builder, base, values[1]), align=4)

    return vector(array, types.intp), generate


@builtin
def store(_: Any, array: types.Array, at: types.Integer, value: VectorType) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base = data(context, builder, signature.args[0], values[0])
        builder.store(values[2], address(builder, base, values[1]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@builtin
def integer(_: Any, array: types.Array, at: types.Integer) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base = data(context, builder, signature.args[0], values[0])
        return builder.load(address(builder, base, values[1], INT), align=4)

    return types.int64(array, types.intp), generate


@builtin
def number(_: Any, array: types.Array, at: types.Integer) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base = data(context, builder, signature.args[0], values[0])
        return builder.load(address(builder, base, values[1], FLOAT), align=4)

    return types.float32(array, types.intp), generate


@builtin
def set_integer(_: Any, array: types.Array, at: types.Integer, value: types.Integer) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base = data(context, builder, signature.args[0], values[0])
        builder.store(values[2], address(builder, base, values[1], INT), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@builtin
def load_first(_: Any, array: types.Array, at: types.Integer, n: types.Integer) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        where = address(builder, data(context, builder, signature.args[0], values[0]), values[1])
        got = cgutils.alloca_once(builder, VECTOR)  # type: ignore[no-untyped-call]
        with _whole_or_part(builder, values[2]) as (whole, part):
            with whole:
                builder.store(builder.load(where, align=4), got)
            with part:
                kinds = (VECTOR, ir.PointerType(), ir.IntType(32), MASK, VECTOR)
                function = declared(builder, f"masked.load.v{LANES}f32.p0", *kinds)
                mask, zero = _first_lanes(builder, values[2]), ir.Constant(VECTOR, [0.0] * LANES)
                builder.store(builder.call(function, [where, ALIGN, mask, zero]), got)
        return builder.load(got)

    return vector(array, types.intp, types.intp), generate


@builtin
def store_first(_: Any, array: types.Array, at: types.Integer, value: VectorType, n: types.Integer) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        where = address(builder, data(context, builder, signature.args[0], values[0]), values[1])
        with _whole_or_part(builder, values[3]) as (whole, part):
            with whole:
                builder.store(values[2], where, align=4)
            with part:
                kinds = (ir.VoidType(), VECTOR, ir.PointerType(), ir.IntType(32), MASK)
                function = declared(builder, f"masked.store.v{LANES}f32.p0", *kinds)
                builder.call(function, [values[2], where, ALIGN, _first_lanes(builder, values[3])])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), generate


@builtin
def splat(_: Any, value: types.Float) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        del context, signature
        return spread(builder, values[0])

    return vector(types.float32), generate


@builtin
def total(_: Any, value: VectorType) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        del context, signature
        add = declared(builder, f"vector.reduce.fadd.v{LANES}f32", FLOAT, FLOAT, VECTOR)
        return builder.call(add, [ir.Constant(FLOAT, 0.0), values[0]])

    return types.float32(value), generate


@builtin
def fma(_: Any, a: VectorType, b: VectorType, c: VectorType) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        del context, signature
        return multiply_add(builder, *values)

    return a(a, b, c), generate


@builtin
def at_most(_: Any, value: VectorType, limit: VectorType) -> Any:
    return value(value, limit), _chosen(">")


@builtin
def at_least(_: Any, value: VectorType, limit: VectorType) -> Any:
    return value(value, limit), _chosen("<")


def _chosen(comparison: str) -> Callable[..., ir.Value]:
    """The limit where `value comparison limit`, else the value: a NaN stays."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        del context, signature
        value, limit = values
        return builder.select(builder.fcmp_ordered(comparison, value, limit), limit, value)

    return generate


def _operator(sign: Callable[..., object], instruction: str) -> None:
    """Teach numba `a sign b` of two vectors, each lane rounded: the compiler contracts nothing by itself."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        del context, signature
        return getattr(builder, instruction)(*values)

    case = signature(vector, vector, vector)  # type: ignore[no-untyped-call]
    template = type(instruction, (ConcreteTemplate,), {"cases": [case]})
    infer_global(sign)(template)  # type: ignore[no-untyped-call]
    lower_builtin(sign, VectorType, VectorType)(generate)  # type: ignore[no-untyped-call]


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")
