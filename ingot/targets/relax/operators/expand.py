"""Tensors that repeat: the ONNX operators ``Expand``, ``Tile`` and ``ConstantOfShape``."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from tvm import relax, te, tirx

from ingot.targets.relax.broadcasting import broadcast_to
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, at_least, is_number, shape_of
from ingot.targets.relax.narrow_types import held_array
from ingot.targets.relax.operators.inputs import integers, tensor


def _sizes(builder: Builder, entry: Any) -> list[Size]:
    """Returns an input of sizes, none of them negative."""
    sizes = integers(builder, entry).flat
    for size in sizes:
        if not at_least(size, 0):
            builder.require(as_expression(size) >= 0, "a size is negative")
    return sizes


def expand(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Expand``: data and shape broadcast to each other.

    Args:
        builder: The builder to emit to.
        inputs: The data, and the shape: known, symbolic, or given when the model runs.
        attributes: None are defined.

    Raises:
        UnsupportedOperatorError: Sizes that do not broadcast.
    """
    del attributes
    data = tensor(builder, inputs[0])
    wanted = [builder.dimension(size) for size in _sizes(builder, inputs[1])]
    return broadcast_to(builder, data, wanted)


def tile(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Tile``.

    Args:
        builder: The builder to emit to.
        inputs: The data, and how often it is repeated along each axis.
        attributes: None are defined.
    """
    del attributes
    data = tensor(builder, inputs[0])
    own, repeats = shape_of(data), _sizes(builder, inputs[1])
    extents = [builder.dimension(size * count) for size, count in zip(own, repeats, strict=True)]
    if not own:
        return data
    if all(is_number(count, 1) for count in repeats):
        return data

    def compute(source: te.Tensor, sizes: Any) -> te.Tensor:
        def at(*place: tirx.Expr) -> tirx.Expr:
            return source(
                *(
                    i if is_number(repeat, 1) else tirx.floormod(i, have)
                    for i, repeat, have in zip(place, repeats, source.shape, strict=True)
                )
            )

        return te.compute(list(sizes), at, name="tile")

    return builder.emit_te(
        compute, data, [as_expression(extent) for extent in extents], primfunc_name_hint="tile"
    )


def constant_of_shape(
    builder: Builder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``ConstantOfShape``.

    Args:
        builder: The builder to emit to.
        inputs: The shape: known, symbolic, or given when the model runs.
        attributes: ``value``: a tensor of one element; by default zero in float32.
    """
    sizes = [builder.dimension(size) for size in _sizes(builder, inputs[0])]
    given = attributes.get("value")
    value = np.zeros(1, np.float32) if given is None else onnx.numpy_helper.to_array(given)
    value = held_array(value)
    scalar = relax.const(value.reshape(()), str(value.dtype))
    return relax.op.full(relax.ShapeExpr(list(map(as_expression, sizes))), scalar)
