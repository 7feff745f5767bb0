"""The largest or smallest elements along an axis, the ONNX operator ``TopK``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, at_least, described, shape_of
from ingot.targets.relax.operators.inputs import integers, tensor
from ingot.targets.relax.operators.slicing import Part, taken
from ingot.targets.relax.shape_values.known import known_vector

# TVM's runtime sorts no other integers than these, of 8, 32 and 64 bits with a sign.
_WIDER = {"int16": "int32", "uint16": "int32", "uint32": "int64"}


def topk(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``TopK``; that there are as many elements is checked where it is not known.

    Args:
        builder: The builder to emit to.
        inputs: The data, and how many: known, symbolic, or given when the model runs.
        attributes: ``axis`` and ``largest``; ``k``, before opset 10.

    Raises:
        UnsupportedOperatorError: The order of the result is left open, as ONNX Runtime then has
            one of its own.
    """
    if not attributes.get("sorted", 1):
        raise UnsupportedOperatorError("a result that is not sorted is not lowered")
    given_data = tensor(builder, inputs[0])
    dtype = str(given_data.ty.dtype)
    data = _sortable(builder, given_data)
    own = shape_of(data)
    axis = attributes.get("axis", -1) % len(own)
    given = known_vector([attributes["k"]]) if "k" in attributes else inputs[1]
    count = integers(builder, given).flat[0]
    for fits in (as_expression(own[axis]) - count, count):
        if not at_least(fits, 0):
            builder.require(
                as_expression(fits) >= 0,
                f"{described(count)} elements are asked for of {described(own[axis])}",
            )
    largest = bool(attributes.get("largest", 1))
    if isinstance(count, int) and count > 0:
        both = builder.emit(relax.op.topk(data, count, axis, "both", largest, "int64"))
        values, indices = (builder.emit(relax.TupleGetItem(both, at)) for at in range(2))
        return relax.Tuple([_restored(builder, values, dtype), indices])
    # All of them in order, of which the first are taken.
    both = builder.emit(relax.op.topk(data, -1, axis, "both", largest, "int64"))
    parts = [Part(0, size, 1) for size in own]
    parts[axis] = Part(0, builder.dimension(count), 1)
    values, indices = (
        taken(builder, builder.emit(relax.TupleGetItem(both, at)), parts) for at in range(2)
    )
    return relax.Tuple([_restored(builder, builder.normalize(values), dtype), indices])


def _sortable(builder: Builder, data: relax.Expr) -> relax.Expr:
    """Returns data in a type that TVM's runtime sorts, in the same order."""
    dtype = str(data.ty.dtype)
    if dtype in _WIDER:
        return builder.emit(relax.op.astype(data, _WIDER[dtype]))
    return _flipped(builder, data, "uint64", "int64") if dtype == "uint64" else data


def _restored(builder: Builder, values: relax.Expr, dtype: str) -> relax.Expr:
    """Returns sorted values in the type that they were given in."""
    if dtype in _WIDER:
        return builder.emit(relax.op.astype(values, dtype))
    return _flipped(builder, values, "int64", "uint64") if dtype == "uint64" else values


def _flipped(builder: Builder, data: relax.Expr, source: str, target: str) -> relax.Expr:
    """Moves unsigned numbers to signed ones, or back: the order is kept by turning the sign."""
    sign = tirx.const(-(1 << 63), "int64")

    def compute(values: te.Tensor) -> te.Tensor:
        def element(*place: tirx.Var) -> tirx.Expr:
            if source == "uint64":
                return tirx.reinterpret("int64", values(*place)) ^ sign
            return tirx.reinterpret("uint64", values(*place) ^ sign)

        return te.compute(values.shape, element, "flipped")

    return builder.emit_te(compute, data, primfunc_name_hint=f"to_{target}")
