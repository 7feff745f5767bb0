"""Indices as vectors with one entry that is set, the ONNX operator ``OneHot``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression
from ingot.targets.relax.operators.inputs import integers, tensor


def one_hot(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``OneHot``; of an index out of range no entry is set.

    Args:
        builder: The builder to emit to.
        inputs: The indices, in ``[-depth, depth)``; the depth, known or given when the model runs;
            and two values, of an entry that is not set and of one that is.
        attributes: ``axis`` of the entries in the result (-1).

    Raises:
        UnsupportedOperatorError: The depth is no integer.
    """
    indices, given, values = (tensor(builder, entry) for entry in inputs)
    if "int" not in str(given.ty.dtype):
        given = builder.emit(relax.op.astype(given, "int64"))
    (depth,) = integers(builder, inputs[1] if given is inputs[1] else given).flat
    builder.require(as_expression(depth) >= 1, "depth {0} is not positive", depth)
    depth = builder.dimension(depth)
    rank = indices.ty.ndim
    if rank < 0:
        raise UnsupportedOperatorError("the rank of the indices is not known")
    axis = attributes.get("axis", -1) % (rank + 1)

    def compute(chosen: te.Tensor, pair: te.Tensor, extents: list[tirx.Expr]) -> te.Tensor:
        (entries,) = extents

        def element(*place: tirx.Var) -> tirx.Expr:
            index = chosen(*place[:axis], *place[axis + 1 :]).astype("int64")
            index = tirx.Select(index < 0, index + entries, index)
            return tirx.Select(tirx.EQ(index, place[axis].astype("int64")), pair(1), pair(0))

        shape = [*chosen.shape]
        shape.insert(axis, entries)
        return te.compute(shape, element, "one_hot")

    return builder.emit_te(
        compute, indices, values, [as_expression(depth)], primfunc_name_hint="one_hot"
    )
