"""Broadcasting where dimensions may turn out to be equal, or one, only when the model runs.

Two symbolic dimensions that differ in name mostly have one value all the same. What depends on the
same inputs (a length, and the length of what was pooled and enlarged again) has to be equal, which
is checked before anything is read; independent ones may broadcast, and the operand that may have to
is read at a position that the outcome decides on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    at_least,
    described,
    equal,
    is_number,
    same,
    same_shape,
    shape_of,
)

# Element-wise operators whose operands broadcast to each other.
BROADCASTING = frozenset({
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
})  # fmt: skip


def broadcast_operands(builder: Builder, operands: Sequence[Any]) -> list[Any]:
    """Returns operands whose dimensions are equal or known to be one.

    Args:
        builder: The builder to emit to.
        operands: Tensors; None where an optional one is left out.

    Raises:
        UnsupportedOperatorError: They can never be broadcast to each other.
    """
    shapes = [shape_of(operand) for operand in operands if operand is not None]
    if all(_is_simple(shape, shapes) for shape in shapes):
        return list(operands)
    common = common_shape(builder, shapes)
    return [
        operand if operand is None else aligned(builder, operand, common) for operand in operands
    ]


def _is_simple(shape: Sequence[Size], others: Sequence[Sequence[Size]]) -> bool:
    """Whether a shape's dimensions are, from the last on, equal to those of others or known."""
    for other in others:
        for mine, theirs in zip(reversed(shape), reversed(other), strict=False):
            if not (mine is theirs or _is_one(mine) or _is_one(theirs) or same(mine, theirs)):
                return False
    return True


def _is_one(size: Size) -> bool:
    return is_number(size, 1)


def common_shape(builder: Builder, shapes: Sequence[Sequence[Size]]) -> list[Size]:
    """Returns the shape that shapes broadcast to; what is not certain of it is checked."""
    rank = max(len(shape) for shape in shapes)
    common: list[Size] = [1] * rank
    for shape in shapes:
        missing = rank - len(shape)
        for axis, size in enumerate(shape):
            common[missing + axis] = common_size(builder, common[missing + axis], size)
    return common


def common_size(builder: Builder, first: Size, second: Size) -> Size:
    """Returns the size that two broadcast to; what is not certain of it is checked.

    Raises:
        UnsupportedOperatorError: They can never be broadcast to each other.
    """
    if _is_one(second) or first is second or same(first, second):
        return first
    if _is_one(first):
        return second
    if isinstance(first, int) and isinstance(second, int):
        raise UnsupportedOperatorError(f"sizes {first} and {second} do not broadcast")
    for one, other in ((first, second), (second, first)):
        if builder.is_outcome_of(one, other):
            return one
    if must_be_equal(builder, first, second):
        return equal_size(builder, first, second)
    fits = tirx.any(equal(first, second), equal(first, 1), equal(second, 1))
    builder.require(fits, f"sizes {described(first)} and {described(second)} do not broadcast")
    if isinstance(first, int):
        return first
    if isinstance(second, int):
        return second
    return builder.broadcast_size(first, second)


def equal_size(builder: Builder, *sizes: Size) -> Size:
    """Returns the simplest of sizes that have to be equal, which is checked where it is not known.

    Raises:
        UnsupportedOperatorError: They can never be equal.
    """
    simplest = min(sizes, key=_complexity)
    for size in sizes:
        if not same(size, simplest):
            builder.require(
                equal(size, simplest),
                f"sizes {described(size)} and {described(simplest)} are not equal",
            )
    return simplest


def _complexity(size: Size) -> tuple[bool, bool, int]:
    simple = isinstance(size, (int, tirx.Var))
    return (not isinstance(size, int), not simple, 0 if simple else len(str(size)))


def must_be_equal(builder: Builder, first: Size, second: Size) -> bool:
    """Whether two sizes that broadcast to each other are taken to be equal."""
    if at_least(first, 2) and at_least(second, 2):
        return True
    if any(builder.is_outcome(size) for size in (first, second)):
        return False
    return bool(builder.roots(first) & builder.roots(second))


def aligned(builder: Builder, tensor: relax.Expr, common: Sequence[Size]) -> relax.Expr:
    """Returns a tensor each of whose dimensions is known to be one, or equal to the common one.

    Args:
        builder: The builder to emit to.
        tensor: A tensor that broadcasts to ``common``.
        common: What ``common_shape`` gave for it.
    """
    shape = shape_of(tensor)
    wanted = list(common)[len(common) - len(shape) :]
    sizes = [size if _is_one(size) else want for size, want in zip(shape, wanted, strict=True)]
    return viewed(builder, tensor, sizes)


def viewed(builder: Builder, tensor: relax.Expr, sizes: Sequence[Size]) -> relax.Expr:
    """Returns a tensor in other terms: with sizes that its own are equal to or broadcast to.

    What gives it is an element-wise operator, so that it is not copied where one reads it.

    Args:
        builder: The builder to emit to.
        tensor: The tensor.
        sizes: As many as it has dimensions.
    """
    shape = shape_of(tensor)
    if same_shape(shape, sizes):
        return tensor
    exact = [
        same(size, want) or must_be_equal(builder, size, want)
        for size, want in zip(shape, sizes, strict=True)
    ]

    def compute(data: te.Tensor, *extents: tirx.Expr) -> te.Tensor:
        def at(*place: tirx.Expr) -> tirx.Expr:
            return data(
                *(
                    i if kept else tirx.Select(equal(size, 1), as_expression(0), i)
                    for i, size, kept in zip(place, data.shape, exact, strict=True)
                )
            )

        return te.compute(extents, at, name="broadcast")

    arguments = [as_expression(size) for size in sizes]
    return builder.emit_te(compute, tensor, *arguments, primfunc_name_hint="broadcast")


def fitted(builder: Builder, tensor: relax.Expr, shape: Sequence[Size]) -> relax.Expr:
    """Returns a tensor that broadcasts to a shape, whatever the tensor's own symbols are.

    Args:
        builder: The builder to emit to.
        tensor: A tensor each of whose dimensions has to be one or as the shape's, which is checked.
        shape: A shape of as many dimensions or more.
    """
    own = shape_of(tensor)
    wanted = list(shape)[len(shape) - len(own) :]
    for size, want in zip(own, wanted, strict=True):
        if _is_one(size) or same(size, want):
            continue
        fits = equal(size, want)
        if not must_be_equal(builder, size, want):
            fits = tirx.any(fits, equal(size, 1))
        builder.require(fits, f"size {described(size)} does not broadcast to {described(want)}")
    return aligned(builder, tensor, shape)


def broadcast_to(builder: Builder, tensor: relax.Expr, shape: Sequence[Size]) -> relax.Expr:
    """Returns a tensor broadcast to a shape; what is not certain of it is checked."""
    common = common_shape(builder, [shape_of(tensor), shape])
    tensor = aligned(builder, tensor, common)
    if same_shape(shape_of(tensor), common):
        return tensor
    return builder.emit(
        relax.op.broadcast_to(tensor, relax.ShapeExpr([as_expression(size) for size in common]))
    )
