"""Reading by index: the ONNX operators ``Gather``, ``GatherElements`` and ``GatherND``.

Indices count from the end where they are negative. What the graph computes may lie outside of the
data all the same: that is checked before anything is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    chosen,
    described,
    shape_of,
    simplified,
)
from ingot.targets.relax.operators.inputs import tensor
from ingot.targets.relax.operators.scatter import from_front, inside, require_within
from ingot.targets.relax.operators.slicing import Part, taken
from ingot.targets.relax.shape_values import known_of
from ingot.targets.relax.value_checks import require_indices


def gather(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Gather``: slices along one axis.

    Args:
        builder: The builder to emit to.
        inputs: The data and the indices, either of which may be known.
        attributes: ``axis``.

    Raises:
        UnsupportedOperatorError: A known index is outside of the data.
    """
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    axis = attributes.get("axis", 0) % len(own)
    known = known_of(inputs[1])
    if known is not None and not known.shape and not known.is_constant:
        return _one(builder, data, axis, known.scalar())
    indices = counted_from_front(builder, tensor(builder, inputs[1]), [own[axis]])
    return relax.op.take(data, indices, axis, mode="clip")


def _one(builder: Builder, data: relax.Expr, axis: int, index: Any) -> relax.Expr:
    """Returns the slice at an index that is computed from dimensions."""
    own = shape_of(data)
    size = own[axis]
    position = simplified(chosen(index < 0, index + size, index))
    fits = tirx.all(as_expression(position) >= 0, as_expression(position) < as_expression(size))
    builder.require(fits, f"index {described(position)} is outside of {described(size)} entries")
    parts = [Part(0, each, 1) for each in own]
    parts[axis] = Part(builder.dimension(position), 1, 1)
    rest = [as_expression(each) for at, each in enumerate(own) if at != axis]
    return builder.emit(relax.op.reshape(taken(builder, data, parts), relax.ShapeExpr(rest)))


def counted_from_front(builder: Builder, indices: relax.Expr, limits: Sequence[Size]) -> relax.Expr:
    """Returns indices without negative ones; that they are inside of the data is checked.

    Args:
        builder: The builder to emit to.
        indices: The indices, int32 or int64. In a branch that is not taken they are moved inside.
        limits: The size of what is indexed; where there are several, one for each position along
            the indices' last dimension.

    Raises:
        UnsupportedOperatorError: A constant one is outside.
    """
    dtype = str(indices.ty.dtype)
    if isinstance(indices, tvm.ir.GenericConst):
        return _counted_constant(builder, indices.value.numpy(), limits)
    require_indices(builder, indices, limits)
    kept = builder.taken is not None
    if len(limits) == 1 and isinstance(limits[0], int) and not kept:
        size = relax.const(limits[0], dtype)
        negative = builder.emit(relax.op.less(indices, relax.const(0, dtype)))
        shifted = builder.emit(relax.op.add(indices, size))
        return builder.emit(relax.op.where(negative, shifted, indices))

    def compute(given: te.Tensor, sizes: Any) -> te.Tensor:
        def at(*place: tirx.Expr) -> tirx.Expr:
            index, size = given(*place), sizes[-1]
            for position in range(len(sizes) - 1):
                size = tirx.Select(
                    tirx.EQ(place[-1], as_expression(position)), sizes[position], size
                )
            index = from_front(index, size.astype(dtype))
            return inside(index, size.astype(dtype)) if kept else index

        return te.compute(given.shape, at, name="indices")

    return builder.emit_te(
        compute, indices, [as_expression(size) for size in limits], primfunc_name_hint="indices"
    )


def _counted_constant(
    builder: Builder, indices: np.ndarray[Any, Any], limits: Sequence[Size]
) -> relax.Expr:
    counted = indices.copy()
    columns = counted.reshape(-1, 1) if len(limits) == 1 else counted.reshape(-1, len(limits))
    for column, size in zip(columns.T, limits, strict=True):
        if not column.size:
            continue
        lowest, highest = int(column.min()), int(column.max())
        if isinstance(size, int):
            if lowest < -size or highest >= size:
                worst = highest if highest >= size else lowest
                raise UnsupportedOperatorError(f"index {worst} is outside of {size} entries")
            column[column < 0] += size
            continue
        builder.require(
            size >= max(highest + 1, -lowest), f"an index is outside of {described(size)} entries"
        )
        if lowest < 0:
            return _counted_symbolic(builder, indices, limits)
    return relax.const(counted, str(counted.dtype))


def _counted_symbolic(
    builder: Builder, indices: np.ndarray[Any, Any], limits: Sequence[Size]
) -> relax.Expr:
    """Returns constant indices of which some count from the end of a symbolic dimension."""
    elements = [
        int(index) + limits[at % len(limits)] if index < 0 else int(index)
        for at, index in enumerate(indices.reshape(-1))
    ]
    return builder.compute(elements, str(indices.dtype), indices.shape)


def gather_elements(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``GatherElements``: for each index the element there along one axis."""
    data, given = (tensor(builder, entry) for entry in inputs)
    axis = attributes.get("axis", 0) % data.ty.ndim
    require_within(builder, shape_of(given), shape_of(data), axis)
    indices = counted_from_front(builder, given, [shape_of(data)[axis]])
    return relax.op.gather_elements(data, indices, axis)


def gather_nd(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``GatherND``: slices at tuples of indices."""
    data, given = (tensor(builder, entry) for entry in inputs)
    batch = attributes.get("batch_dims", 0)
    indices = counted_from_front(builder, given, _indexed(data, given, batch))
    return relax.op.gather_nd(data, indices, batch)


def _indexed(data: relax.Expr, indices: relax.Expr, batch: int = 0) -> list[Size]:
    depth = shape_of(indices)[-1]
    if not isinstance(depth, int):
        raise UnsupportedOperatorError("the number of indices is known only when the model runs")
    return shape_of(data)[batch : batch + depth]
