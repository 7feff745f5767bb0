"""Shapes as values: the integer arithmetic that graphs do on the dimensions of their tensors.

TVM's importer keeps the result of ``Shape`` symbolic, but computes on it only where both sides are
known. Here sums, differences, products and quotients of dimensions stay symbolic too, so that what
follows (a slice's end, a reshape's size) still knows what it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda left, right: left + right,
    "Sub": lambda left, right: left - right,
    "Mul": lambda left, right: left * right,
    # ONNX truncates; for the sizes of tensors, which are positive, that is the floor.
    "Div": tirx.floordiv,
}


def shape_slice(shape: relax.ShapeExpr, start: int, end: int | None) -> relax.ShapeExpr:
    """Returns the dimensions that ``Shape`` with ``start`` and ``end`` selects."""
    return relax.ShapeExpr(list(shape.values)[start:end])


def shape_arithmetic(operator: str, inputs: Sequence[Any]) -> relax.ShapeExpr | None:
    """Returns the result of integer arithmetic on shapes, still symbolic.

    Args:
        operator: The ONNX operator.
        inputs: Shapes, and constants of at most one dimension.

    Returns:
        The result, or None where the operator or an input is of another kind.
    """
    compute = _ARITHMETIC.get(operator)
    if compute is None or not any(isinstance(entry, relax.ShapeExpr) for entry in inputs):
        return None
    operands = [_dimensions(entry) for entry in inputs]
    if len(operands) != 2 or None in operands:
        return None
    left, right = operands
    assert left is not None and right is not None
    length = max(len(left), len(right))
    if {len(left), len(right)} - {1, length}:
        return None
    left, right = (side * length if len(side) == 1 else side for side in (left, right))
    return relax.ShapeExpr([compute(a, b) for a, b in zip(left, right, strict=True)])


def _dimensions(entry: Any) -> list[Any] | None:
    if isinstance(entry, relax.ShapeExpr):
        return list(entry.values)
    if isinstance(entry, tvm.ir.GenericConst):
        array = entry.value.numpy()
        if array.ndim <= 1 and np.issubdtype(array.dtype, np.integer):
            return [tirx.IntImm("int64", int(value)) for value in array.reshape(-1)]
    return None
