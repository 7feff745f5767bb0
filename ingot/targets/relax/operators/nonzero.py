"""Which elements are set, the ONNX operators ``NonZero`` and ``Compress``.

How many there are is known only when they have been counted: one pass counts, another one writes.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.tirx import stmt as statements

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    as_expression,
    at_least,
    described,
    product,
    shape_of,
)
from ingot.targets.relax.loops import LoopFunction, load, nest, sequence, store
from ingot.targets.relax.operators.inputs import tensor

_FIRST = [0]


def nonzero(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``NonZero``.

    Args:
        builder: The builder to emit to.
        inputs: The data.
        attributes: None are defined.

    Returns:
        The indices of the elements that are not zero, int64 [rank, how many], in row-major order.

    Raises:
        UnsupportedOperatorError: The data is a scalar, of which ONNX leaves the result open.
    """
    del attributes
    data = tensor(builder, inputs[0])
    if not shape_of(data):
        raise UnsupportedOperatorError("indices of a scalar are not lowered")
    return set_indices(builder, data)


def compress(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Compress``: what stands where a condition is true.

    Args:
        builder: The builder to emit to.
        inputs: The data, and the condition, booleans: no more than there are entries.
        attributes: ``axis`` along which entries stand; without it they are the elements.
    """
    data, condition = (tensor(builder, entry) for entry in inputs)
    axis = attributes.get("axis")
    if axis is None:
        count = builder.dimension(product(shape_of(data)))
        data = builder.emit(relax.op.reshape(data, relax.ShapeExpr([as_expression(count)])))
        axis = 0
    own = shape_of(data)
    axis = axis % len(own)
    (given,) = shape_of(condition)
    if not at_least(as_expression(own[axis]) - given, 0):
        builder.require(
            as_expression(given) <= as_expression(own[axis]),
            f"there are {described(given)} conditions for {described(own[axis])} entries",
        )
    chosen = set_indices(builder, condition)
    (_, count) = shape_of(chosen)
    places = builder.emit(relax.op.reshape(chosen, relax.ShapeExpr([as_expression(count)])))
    return relax.op.take(data, places, axis=axis, mode="clip")


def set_indices(builder: Builder, data: relax.Expr) -> relax.Expr:
    """Returns the indices of the elements that are not zero, int64 [rank, how many]."""
    rank = len(shape_of(data))
    counting = LoopFunction(builder.node)
    source = counting.tensor(data, "data")
    total = tirx.decl_buffer([as_expression(1)], "int64", "total")

    def count(*place: tirx.Expr) -> tirx.Stmt:
        counted = load(total, _FIRST) + tirx.Cast("int64", _is_set(source, place))
        return store(total, counted, _FIRST)

    counting.body += [store(total, as_expression(0), _FIRST), nest(list(source.shape), count)]
    (found,) = builder.variables_of(counting.call(builder, total, [1], "count_set"), 1)

    writing = LoopFunction(builder.node)
    data_again = writing.tensor(data, "data")
    target = tirx.decl_buffer([as_expression(rank), writing.size(found)], "int64", "indices")
    position = tirx.decl_buffer([as_expression(1)], "int64", "position")

    def write(*place: tirx.Expr) -> tirx.Stmt:
        at = load(position, _FIRST)
        stores = [store(target, index, [axis, at]) for axis, index in enumerate(place)]
        step = store(position, at + as_expression(1), _FIRST)
        return statements.IfThenElse(_is_set(data_again, place), sequence([*stores, step]), None)

    writing.body.append(
        sequence([
            statements.AllocBuffer(position),
            store(position, as_expression(0), _FIRST),
            nest(list(data_again.shape), write),
        ])
    )  # fmt: skip
    return writing.call(builder, target, [rank, found], "set_indices")


def _is_set(buffer: tirx.Buffer, place: Any) -> tirx.Expr:
    value = load(buffer, place)
    dtype = str(buffer.dtype)
    if dtype == "bool":
        return value
    if dtype in ("float16", "bfloat16"):
        value, dtype = value.astype("float32"), "float32"
    differs = tirx.NE(value, tirx.const(0, dtype))
    # TVM's comparisons are false of NaN, which is not zero.
    return tirx.any(differs, tirx.isnan(value)) if dtype.startswith("float") else differs
