"""``Cast`` and ``CastLike`` to and from element types that code holds in others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.narrow_types import HELD_TYPES, NodeTypes
from ingot.targets.relax.operators.narrow_floats import NARROW_FLOATS, decode, encode
from ingot.targets.relax.tvm_internals import convert_by_tvm


def cast(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any], types: NodeTypes
) -> relax.Expr:
    """Converts ``Cast`` and ``CastLike`` where one of the types is held in another.

    Floats round to nearest, ties to even. What goes to an integer is rounded, ties away from zero,
    and wraps: ONNX does not say, ONNX Runtime does so. Between floats stands a float32, which
    holds all but float64.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and what it is to be like.
        attributes: ``saturate``: whether what overflows an 8-bit float becomes its largest number.
        types: The node's element types.

    Raises:
        UnsupportedOperatorError: A type is not known.
    """
    source, target = types.inputs[0], types.outputs[0]
    if source is None or target is None:
        raise UnsupportedOperatorError("a type is not known")
    data = inputs[0]
    if source in NARROW_FLOATS:
        kind = NARROW_FLOATS[source]
        data = map_elements(builder, data, lambda code: decode(code, kind))
    if target in NARROW_FLOATS:
        data = data if source in NARROW_FLOATS else _plain(builder, data, "float32")
        kind, saturate = NARROW_FLOATS[target], bool(attributes.get("saturate", 1))
        return map_elements(builder, data, lambda value: encode(value, kind, saturate=saturate))
    if target in HELD_TYPES:
        return map_elements(builder, data, lambda value: _wrap(_whole(value), target))
    return _plain(builder, data, target.numpy().name)


def map_elements(
    builder: relax.BlockBuilder, data: relax.Expr, function: Callable[[tirx.Expr], tirx.Expr]
) -> relax.Expr:
    """Emits a function of scalars, applied to each element."""

    def compute(tensor: te.Tensor) -> te.Tensor:
        return te.compute(tensor.shape, lambda *place: function(tensor(*place)), "cast")

    return builder.emit_te(compute, data, primfunc_name_hint="cast")


def _plain(builder: relax.BlockBuilder, data: relax.Expr, dtype: str) -> relax.Expr:
    return builder.emit(convert_by_tvm("Cast", 13, builder, [data], {"to": dtype}))


def _whole(value: tirx.Expr) -> tirx.Expr:
    """Rounds a number to an int32; what does not fit, which has no meaning, becomes zero."""
    if not str(value.ty.dtype).startswith(("float", "bfloat")):
        return value.astype("int32")
    wide = value.astype("float32")
    fits = tirx.abs(wide) < _float(2.0**31)
    fitting = tirx.Select(fits, wide, _float(0.0))
    whole = fitting.astype("int32")
    rest = fitting - whole.astype("float32")
    up = (rest >= _float(0.5)).astype("int32")
    return whole + up - (rest <= _float(-0.5)).astype("int32")


def _float(value: float) -> tirx.Expr:
    return tirx.FloatImm("float32", value)


def _wrap(value: tirx.Expr, target: ir.DataType) -> tirx.Expr:
    """Keeps the lowest bits of an int32, and their sign where the type has one."""
    unused = tirx.IntImm("int32", 32 - target.bitwidth)
    if target.name.startswith("INT"):
        return ((value << unused) >> unused).astype("int8")
    return (value & tirx.IntImm("int32", (1 << target.bitwidth) - 1)).astype("uint8")
