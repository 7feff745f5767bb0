"""Matrix products, the ONNX operators ``MatMul`` and ``Gemm``."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.targets.relax.broadcasting import common_shape, equal_size, fitted, viewed
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import is_number, shape_of
from ingot.targets.relax.tvm_internals import Inputs, convert_by_tvm


def matmul(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``MatMul``; what is not certain of its operands' dimensions is checked.

    Args:
        builder: The builder to emit to.
        inputs: The operands, whose leading dimensions broadcast to each other.
        attributes: None are defined.
    """
    del attributes
    left, right = inputs
    rows, columns = shape_of(left), shape_of(right)
    inner_axis = -2 if len(columns) > 1 else -1
    inner = equal_size(builder, rows[-1], columns[inner_axis])
    rows[-1] = columns[inner_axis] = inner
    if len(rows) > 1 and len(columns) > 1:
        batch = common_shape(builder, [rows[:-2], columns[:-2]])
        for shape in (rows, columns):
            own = shape[:-2]
            wanted = batch[len(batch) - len(own) :]
            shape[:-2] = [
                1 if is_number(size, 1) else want for size, want in zip(own, wanted, strict=True)
            ]
    return relax.op.matmul(viewed(builder, left, rows), viewed(builder, right, columns))


def gemm(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Gemm``: alpha · A B + beta · C, either matrix transposed on request.

    Args:
        builder: The builder to emit to.
        inputs: A, B, and C where it is there, which broadcasts to the product.
        attributes: ``alpha``, ``beta``, ``transA`` and ``transB``.
    """
    left, right, *rest = inputs
    rows, columns = shape_of(left), shape_of(right)
    row_axis, column_axis = int(attributes.get("transA", 0)), int(not attributes.get("transB", 0))
    inner = equal_size(builder, rows[1 - row_axis], columns[1 - column_axis])
    rows[1 - row_axis] = columns[1 - column_axis] = inner
    operands = [viewed(builder, left, rows), viewed(builder, right, columns)]
    if rest and rest[0] is not None:
        outcome = [rows[row_axis], columns[column_axis]]
        operands.append(fitted(builder, rest[0], outcome))
    return convert_by_tvm("Gemm", 13, builder, Inputs(operands), attributes)
