"""Sequences of numbers, the ONNX operator ``Range``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.targets.relax.builder import LARGEST_NUMBER, Builder
from ingot.targets.relax.expressions import (
    as_expression,
    different,
    is_number,
    largest,
    plain,
    simplified,
)
from ingot.targets.relax.loops import LoopFunction, load
from ingot.targets.relax.operators.inputs import integers, tensor
from ingot.targets.relax.shape_values import known_of
from ingot.targets.relax.shape_values.elements import ceil, divide, subtract, to_integer
from ingot.targets.relax.shape_values.known import as_operand
from ingot.targets.relax.value_checks import require_between


def range_(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Range``.

    Args:
        builder: The builder to emit to.
        inputs: Start, limit and step, scalars of one dtype: known, symbolic, or given when the
            model runs.
        attributes: None are defined.
    """
    del attributes
    dtype = _dtype(inputs[0])
    if dtype.startswith("float"):
        return _of_floats(builder, inputs, dtype)
    for entry in inputs:
        if known_of(entry) is None:
            message = "{0} is too large for a bound or a step of a range"
            require_between(builder, entry, [(-LARGEST_NUMBER, LARGEST_NUMBER + 1)], message)
    start, limit, step = (integers(builder, entry).scalar() for entry in inputs)
    builder.require(different(step, 0), "the step of a range is zero")
    if is_number(step, 1):
        length = largest(simplified(limit - start), 0)
    elif isinstance(step, int):
        span, stride = (limit - start, step) if step > 0 else (start - limit, -step)
        length = simplified(divide(largest(simplified(span + stride - 1), 0), stride, "int64"))
    else:
        distance = tirx.Select(step > 0, as_expression(limit - start), as_expression(start - limit))
        stride = tirx.max(tirx.Select(step > 0, step, as_expression(0) - step), as_expression(1))
        length = tirx.floordiv(tirx.max(distance, as_expression(0)) + stride - 1, stride)
    length = builder.dimension(length)
    if dtype == "int64" and is_number(step, 1):
        end = as_expression(simplified(as_expression(start) + length))
        return relax.op.arange(as_expression(start), end, 1, dtype="int64")

    def compute(size: tirx.Expr, first: tirx.Expr, by: tirx.Expr) -> te.Tensor:
        return te.compute((size,), lambda i: (first + i * by).astype(dtype), name="range")

    arguments = [as_expression(plain(value)) for value in (length, start, step)]
    return builder.emit_te(compute, *arguments, primfunc_name_hint="range")


def _dtype(entry: Any) -> str:
    known = known_of(entry)
    return known.dtype if known is not None else str(entry.ty.dtype)


def _of_floats(builder: Builder, inputs: list[Any], dtype: str) -> relax.Expr:
    values = [known_of(entry) for entry in inputs]
    if None in values:
        return _of_tensors(builder, [tensor(builder, entry) for entry in inputs], dtype)
    start, limit, step = (value.scalar() for value in values if value is not None)
    distance = subtract(limit, start, dtype)
    length = to_integer(ceil(divide(distance, step, "float64"), "float64"))
    size = builder.dimension(largest(length, 0))

    def compute(extent: tirx.Expr) -> te.Tensor:
        first, by = as_operand(start, dtype), as_operand(step, dtype)
        return te.compute((extent,), lambda i: first + i.astype(dtype) * by, name="range")

    return builder.emit_te(compute, as_expression(size), primfunc_name_hint="range")


def _of_tensors(builder: Builder, bounds: list[relax.Expr], dtype: str) -> relax.Expr:
    """Floating-point numbers between bounds that are given when the model runs."""
    function = LoopFunction(builder.node)
    buffers = [function.tensor(each, "bound") for each in bounds]
    start, limit, step = (load(each, [0] * len(each.shape)).astype("float64") for each in buffers)
    count = tirx.max(tirx.ceil((limit - start) / step), tirx.const(0.0, "float64"))
    steps = (limit - start) / step
    endless = tirx.any(
        tirx.EQ(step, tirx.const(0.0, "float64")),
        tirx.isnan(steps),
        steps > tirx.const(float(LARGEST_NUMBER), "float64"),
    )
    function.body.append(function.refuse(endless, "its bounds and its step make no range"))
    (length,) = builder.sizes_by(function, [count.astype("int64")])

    def compute(first: te.Tensor, by: te.Tensor, size: tirx.Expr) -> te.Tensor:
        def at(i: tirx.Expr) -> tirx.Expr:
            return _only(first) + i.astype(dtype) * _only(by)

        return te.compute((size,), at, name="range")

    return builder.emit_te(compute, bounds[0], bounds[2], length, primfunc_name_hint="range")


def _only(scalar: te.Tensor) -> tirx.Expr:
    return scalar(*(as_expression(0) for _ in scalar.shape))
