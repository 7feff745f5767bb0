"""Running sums and products: the ONNX operators ``CumSum`` and ``CumProd``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, tirx, topi

from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, chosen
from ingot.targets.relax.operators.inputs import require_axes


def cumulative(run: Callable[..., relax.Expr]) -> Callable[..., relax.Expr]:
    """Returns the converter of a running sum or product.

    An axis that is computed when the model runs cuts the shape into what comes before and behind
    it, two sizes that are computed with it.

    Args:
        run: Relax's operator.
    """

    def convert(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
        data, axis = inputs
        shape = relax.ShapeExpr(list(data.ty.shape))
        rank = len(shape.values)
        if isinstance(axis, tvm.ir.GenericConst):
            along = int(axis.value.numpy().reshape(())) % rank
        else:
            data = builder.emit(relax.op.reshape(data, _around(builder, axis, shape)))
            along = 1

        def turned(tensor: relax.Expr) -> relax.Expr:
            return builder.emit_te(topi.flip, tensor, axis=along)

        reverse = bool(attributes.get("reverse", 0))
        data = turned(data) if reverse else data
        data = builder.emit(run(data, along, exclusive=bool(attributes.get("exclusive", 0))))
        data = turned(data) if reverse else data
        return relax.op.reshape(data, shape)

    return convert


def _around(builder: Builder, axis: relax.Expr, shape: relax.ShapeExpr) -> relax.ShapeExpr:
    """Returns the shape as what comes before an axis, the axis, and what comes behind it."""
    (given,) = builder.values_of(axis).flat
    require_axes(builder, [given], len(shape.values))
    along = chosen(given < 0, given + len(shape.values), given)
    sizes = []
    for compare in (tirx.LT, tirx.EQ, tirx.GT):
        size: Any = 1
        for at, own in enumerate(shape.values):
            size = size * chosen(compare(as_expression(at), along), own, 1)
        sizes.append(size)
    return relax.ShapeExpr(builder.bind(sizes))
