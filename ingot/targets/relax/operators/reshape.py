"""The same elements in another shape: ``Reshape``, ``Flatten``, ``Squeeze``, ``Unsqueeze``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    at_least,
    chosen,
    described,
    equal,
    is_number,
    plain,
    product,
    reduced_quotient,
    same,
    shape_of,
)
from ingot.targets.relax.operators.inputs import (
    integers,
    normalized_axes,
    optional,
    require_axes,
    tensor,
)
from ingot.targets.relax.shape_values.elements import divide

_COUNTED = float(1 << 62)


def reshape(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Reshape``; sizes may be known, symbolic, or given when the model runs.

    Args:
        builder: The builder to emit to.
        inputs: The data, and the sizes, among them 0 for the data's own and one -1 for the rest.
        attributes: ``allowzero``: a 0 is a size.
    """
    data = tensor(builder, inputs[0])
    wanted = integers(builder, inputs[1]).flat
    own = shape_of(data)
    if not attributes.get("allowzero", 0):
        wanted = [_own_where_zero(size, own, axis) for axis, size in enumerate(wanted)]
    if not all(isinstance(size, int) or at_least(size, 0) for size in wanted):
        wanted = [plain(size) for size in builder.signed(wanted)]
    return reshaped(builder, data, _with_inferred(builder, own, wanted))


def _own_where_zero(size: Size, own: Sequence[Size], axis: int) -> Size:
    if axis >= len(own) or at_least(size, 1):
        return size
    # A dimension that is computed from others is what it says, even where it turns out to be 0.
    if not isinstance(size, int) and at_least(size, 0):
        return size
    return chosen(equal(size, 0), own[axis], size)


def _with_inferred(builder: Builder, own: Sequence[Size], wanted: Sequence[Size]) -> list[Size]:
    """Puts in place of -1 what is left of the elements."""
    open_axes = [axis for axis, size in enumerate(wanted) if not at_least(size, 0)]
    if not open_axes:
        return list(wanted)
    given = [
        chosen(equal(size, -1), 1, size) if axis in open_axes else size
        for axis, size in enumerate(wanted)
    ]
    above, below = reduced_quotient(own, given)
    if not isinstance(below, int):
        inferred = tirx.any(*(equal(wanted[axis], -1) for axis in open_axes))
        builder.require(
            tirx.any(tirx.Not(inferred), below >= 1),
            "a size is zero where another one is to be inferred",
        )
    if is_number(below, 0):
        raise UnsupportedOperatorError("a size cannot be inferred where another one is zero")
    rest = divide(above, below, "int64")
    if not all(isinstance(wanted[axis], int) for axis in open_axes):
        (rest,) = builder.signed([rest])
    sizes = list(wanted)
    for axis in open_axes:
        size = wanted[axis]
        sizes[axis] = chosen(equal(size, -1), rest, size)
        if not at_least(sizes[axis], 0):
            builder.require(as_expression(sizes[axis]) >= 0, "a size is negative")
    return sizes


def reshaped(builder: Builder, data: relax.Expr, sizes: Sequence[Size]) -> relax.Expr:
    """Returns a tensor in another shape of as many elements, which is checked.

    Raises:
        UnsupportedOperatorError: It never has as many.
    """
    dims = [builder.dimension(size) for size in sizes]
    own = shape_of(data)
    before, after = product(own), product(dims)
    if not same(before, after):
        builder.require(
            tirx.all(equal(before, after), _is_counted(dims)),
            f"{_listed(own)} cannot be reshaped to {_listed(dims)}",
        )
        if not any(is_number(size, 0) for size in dims):
            # Kernels could not tell that the order of elements is the same.
            return builder.emit(relax.op.memory.view(data, relax.ShapeExpr([*dims])))
    shape = relax.ShapeExpr(list(map(as_expression, dims)))
    if any(is_number(size, 0) for size in dims):
        # TVM takes a 0 for the data's own size.
        return builder.emit(relax.op.zeros(shape, data.ty.dtype))
    return builder.emit(relax.op.reshape(data, shape))


def _is_counted(sizes: Sequence[Size]) -> tirx.Expr:
    """The condition that integers of 64 bits hold the product of sizes that others may be."""
    exact = tirx.const(1.0, "float64")
    for size in sizes:
        exact = exact * tirx.Cast("float64", as_expression(size))
    return exact < tirx.const(_COUNTED, "float64")


def _listed(sizes: Sequence[Size]) -> str:
    return f"[{', '.join(map(described, sizes))}]"


def flatten(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Flatten``: two dimensions, of those before an axis and those from it on."""
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    axis = attributes.get("axis", 1)
    axis += len(own) if axis < 0 else 0
    return reshaped(builder, data, [product(own[:axis]), product(own[axis:])])


def _given_axes(
    builder: Builder, inputs: list[Any], attributes: dict[str, Any]
) -> list[Size] | None:
    given = optional(inputs, 1)
    if given is None:
        return list(attributes["axes"]) if "axes" in attributes else None
    return integers(builder, given).flat


def _are_known(axes: Sequence[Size]) -> TypeGuard[list[int]]:
    return all(isinstance(axis, int) for axis in axes)


def _named(builder: Builder, axes: Sequence[Size], rank: int) -> list[tirx.Var]:
    """Returns, for each axis, 1 where it is among those given when the model runs, else 0."""
    require_axes(builder, axes, rank)

    def is_named(axis: int) -> Size:
        return chosen(tirx.any(*(equal(a, at) for a in axes for at in (axis, axis - rank))), 1, 0)

    return builder.bind([is_named(axis) for axis in range(rank)])


def squeeze(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Squeeze``; that a symbolic dimension is one is checked.

    Args:
        builder: The builder to emit to.
        inputs: The data, and the axes; without them every dimension of one is dropped.
        attributes: ``axes``, before opset 13.

    Raises:
        UnsupportedOperatorError: A dimension is not one, or may be one and then be dropped.
    """
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    axes = _given_axes(builder, inputs, attributes)
    if axes is not None and not _are_known(axes):
        dropped = _named(builder, axes, len(own))
        before: Size = 0
        sizes: list[Size] = [0] * (len(own) - len(axes))
        for size, gone in zip(own, dropped, strict=True):
            for at in range(len(sizes)):
                here = tirx.all(equal(gone, 0), equal(before, at))
                sizes[at] = sizes[at] + chosen(here, size, 0)
            before = before + 1 - gone
        return reshaped(builder, data, sizes)
    if axes is None:
        axes = [axis for axis, size in enumerate(own) if is_number(size, 1)]
        for size in own:
            if not isinstance(size, int) and not at_least(size, 2):
                raise UnsupportedOperatorError(
                    f"the rank of its result depends on whether dimension {described(size)} is 1"
                )
    assert _are_known(axes)
    axes = normalized_axes(axes, len(own))
    for axis in axes:
        builder.require(equal(own[axis], 1), f"dimension {described(own[axis])} is not 1")
    kept = [size for axis, size in enumerate(own) if axis not in axes]
    return builder.emit(relax.op.reshape(data, relax.ShapeExpr(list(map(as_expression, kept)))))


def unsqueeze(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Unsqueeze``.

    Args:
        builder: The builder to emit to.
        inputs: The data, and the axes of the result that are one.
        attributes: ``axes``, before opset 13.
    """
    data = tensor(builder, inputs[0])
    axes = _given_axes(builder, inputs, attributes) or []
    own = shape_of(data)
    rank = len(own) + len(axes)
    if not _are_known(axes):
        before: Size = 0
        sizes: list[Size] = []
        for new in _named(builder, axes, rank):
            size: Size = new
            for at, each in enumerate(own):
                here = tirx.all(equal(new, 0), equal(before, at))
                size = size + chosen(here, each, 0)
            sizes.append(size)
            before = before + 1 - new
        return reshaped(builder, data, sizes)
    return relax.op.expand_dims(data, sorted(normalized_axes(axes, rank)))
