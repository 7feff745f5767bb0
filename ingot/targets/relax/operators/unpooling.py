"""Undoing a maximum pooling by the positions that it gave, the ONNX operator ``MaxUnpool``."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, product, shape_of, simplified
from ingot.targets.relax.operators.inputs import optional
from ingot.targets.relax.operators.reshape import reshaped
from ingot.targets.relax.operators.scatter import scatter_elements
from ingot.targets.relax.value_checks import require_between


def max_unpool(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``MaxUnpool``: elements at positions of the flattened result, zeros elsewhere.

    Args:
        builder: The builder to emit to.
        inputs: The elements, and the position of each: inside of the result, which is checked.
        attributes: ``kernel_shape``, ``strides``, ``pads``.

    Raises:
        UnsupportedOperatorError: A shape of the result is given.
    """
    if optional(inputs, 2) is not None:
        raise UnsupportedOperatorError("a given shape of the result is not lowered")
    data, positions = inputs[:2]
    kernel = list(attributes["kernel_shape"])
    rank = len(kernel)
    strides = list(attributes.get("strides", [1] * rank))
    pads = list(attributes.get("pads", [0] * 2 * rank))
    own = shape_of(data)
    sizes: list[Size] = [*own[:2]]
    for axis, size in enumerate(own[2:]):
        around = pads[axis] + pads[axis + rank]
        sizes.append(simplified((size - 1) * strides[axis] - around + kernel[axis]))
    count = as_expression(product(sizes))
    require_between(builder, positions, [(0, count)], "position {0} is outside of {2} elements")
    value = relax.const(0, str(data.ty.dtype))
    empty = builder.emit(relax.op.full(relax.ShapeExpr([count]), value))
    flat = [
        builder.normalize(reshaped(builder, each, [product(shape_of(each))]))
        for each in (positions, data)
    ]
    filled = builder.emit(scatter_elements(builder, [empty, *flat], {"axis": 0}))
    return builder.emit(relax.op.reshape(filled, relax.ShapeExpr(list(map(as_expression, sizes)))))
