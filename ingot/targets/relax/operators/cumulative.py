"""Running sums and products: the ONNX operators ``CumSum`` and ``CumProd``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

from ingot.targets.relax.computed_sizes import computed_sizes

_ONE = tirx.IntImm("int64", 1)


def cumulative(run: Callable[..., relax.Expr]) -> Callable[..., relax.Expr]:
    """Returns the converter of a running sum or product.

    An axis that is computed when the model runs cuts the shape into what comes before and behind
    it, two sizes that are computed with it.

    Args:
        run: Relax's operator.
    """

    def convert(
        builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
    ) -> relax.Expr:
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


def _around(
    builder: relax.BlockBuilder, axis: relax.Expr, shape: relax.ShapeExpr
) -> relax.ShapeExpr:
    """Returns the shape as what comes before an axis, the axis, and what comes behind it."""
    rank = len(shape.values)

    def size(given: te.Tensor, sizes: list[tirx.Expr], position: tirx.Expr) -> tirx.Expr:
        chosen = given(*[0] * len(given.shape)).astype("int64")
        chosen = tirx.Select(chosen < 0, chosen + rank, chosen)
        products = []
        for compare in (tirx.LT, tirx.EQ, tirx.GT):
            product: tirx.Expr = _ONE
            for at, own in enumerate(sizes):
                here = compare(tirx.IntImm("int64", at), chosen)
                product = product * tirx.Select(here, own, _ONE)
            products.append(product)
        before, own, behind = products
        return tirx.Select(position == 0, before, tirx.Select(position == 1, own, behind))

    return relax.ShapeExpr(computed_sizes(builder, 3, size, axis, shape.values, "around"))
