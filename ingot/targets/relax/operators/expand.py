"""Broadcasting to a shape, the ONNX operator ``Expand``."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.tvm_internals import convert_by_tvm


def expand(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    """Converts ``Expand``: data and shape are aligned at their last dimensions.

    Where the shape has 1, or fewer dimensions than the data, the data's own size stays.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and the shape: known, symbolic, or a tensor computed at run time.
        attributes: None are defined.

    Raises:
        UnsupportedOperatorError: Sizes that do not broadcast.
    """
    del attributes
    data, shape = inputs
    if isinstance(shape, relax.ShapeExpr):
        target = list(shape.values)
    elif isinstance(shape, tvm.ir.GenericConst):
        target = [tirx.IntImm("int64", int(size)) for size in shape.value.numpy()]
    else:
        return _expand_to_computed(builder, data, shape)
    sizes = list(data.ty.shape)
    rank = max(len(sizes), len(target))
    one = tirx.IntImm("int64", 1)
    sizes = [one] * (rank - len(sizes)) + sizes
    target = [one] * (rank - len(target)) + target
    broadcast = [_broadcast(size, wanted) for size, wanted in zip(sizes, target, strict=True)]
    return relax.op.broadcast_to(data, relax.ShapeExpr(broadcast))


def _expand_to_computed(builder: relax.BlockBuilder, data: relax.Expr, shape: relax.Expr) -> Any:
    """Expands to a shape that is a tensor: the larger of the two sizes in each dimension."""
    rank = int(shape.ty.shape[0])
    missing = data.ty.ndim - rank
    if missing > 0:
        ones = relax.const(np.ones(missing), "int64")
        shape = builder.emit(relax.op.concat([ones, shape], axis=0))
    sizes = [tirx.IntImm("int64", 1)] * max(0, -missing) + list(data.ty.shape)
    own = builder.emit(relax.op.shape_to_tensor(relax.ShapeExpr(sizes)))
    larger = builder.emit(relax.op.maximum(shape, own))
    return convert_by_tvm("Expand", 13, builder, [data, larger], {})


def _broadcast(size: tirx.Expr, wanted: tirx.Expr) -> tirx.Expr:
    fixed, asked = (_value(expression) for expression in (size, wanted))
    if asked == 1:
        return size
    if fixed == 1 or fixed is None:
        return wanted
    if asked is not None and asked != fixed:
        raise UnsupportedOperatorError(f"a dimension of {fixed} cannot be expanded to {asked}")
    return size


def _value(expression: tirx.Expr) -> int | None:
    return int(expression.value) if isinstance(expression, tirx.IntImm) else None
