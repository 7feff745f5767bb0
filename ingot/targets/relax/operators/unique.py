"""The distinct elements of a tensor, the ONNX operator ``Unique``.

The elements are ranked; where one differs from that before it a new one begins. Of equal ones the
first in the tensor comes first in the ranking too. Where the order of the tensor is asked for, the
distinct ones are ranked once more by where they come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, product, shape_of
from ingot.targets.relax.loops import LoopFunction, load, nest, store
from ingot.targets.relax.operators.inputs import tensor
from ingot.targets.relax.operators.topk import elements_at
from ingot.targets.relax.ranking import ranked

_ZERO, _ONE = as_expression(0), as_expression(1)


def unique(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Unique`` of all elements.

    Args:
        builder: The builder to emit to.
        inputs: The data.
        attributes: ``sorted`` (1).

    Returns:
        The distinct elements, where each comes first, for each element which of them it is, and how
        often each occurs.

    Raises:
        UnsupportedOperatorError: Distinct slices along an axis are asked for.
    """
    if "axis" in attributes:
        raise UnsupportedOperatorError("distinct slices along an axis are not lowered")
    data = tensor(builder, inputs[0])
    size = builder.dimension(product(shape_of(data)))
    data = builder.emit(relax.op.reshape(data, relax.ShapeExpr([as_expression(size)])))
    order = ranked(builder, data, size, 0, largest=False)
    groups = _groups(builder, elements_at(builder, data, order, 0))
    count = _group_count(builder, groups, size)
    first = _combined(builder, groups, order, count, _first_of)
    counts = _combined(builder, groups, order, count, _one_more)
    inverse = _inverse(builder, order, groups)
    if not attributes.get("sorted", 1):
        rank = ranked(builder, first, count, 0, largest=False)
        places = _inverse(builder, rank, None)
        first, counts = (elements_at(builder, each, rank, 0) for each in (first, counts))
        inverse = elements_at(builder, places, inverse, 0)
    return relax.Tuple([elements_at(builder, data, first, 0), first, inverse, counts])


def _groups(builder: Builder, values: relax.Expr) -> relax.Expr:
    """Numbers the distinct ones among ranked values, from zero on; all NaNs are one."""
    function = LoopFunction(builder.node)
    source = function.tensor(values, "values")
    (size,) = source.shape
    target = tirx.decl_buffer([size], "int64", "groups")

    def number(at: tirx.Expr) -> tirx.Stmt:
        before = tirx.max(at - _ONE, _ZERO)
        differs = tirx.all(at > _ZERO, _differ(load(source, [before]), load(source, [at])))
        return store(target, load(target, [before]) + tirx.Cast("int64", differs), [at])

    start = nest([tirx.min(size, _ONE)], lambda at: store(target, at, [at]))
    function.body += [start, nest([size], number)]
    return function.call(builder, target, shape_of(values), "number_groups")


def _differ(one: tirx.Expr, other: tirx.Expr) -> tirx.Expr:
    dtype = str(one.ty.dtype)
    if dtype in ("float16", "bfloat16"):
        one, other, dtype = one.astype("float32"), other.astype("float32"), "float32"
    if not dtype.startswith("float"):
        return tirx.NE(one, other)
    # Ranked NaNs are the last, and TVM's comparisons are false of them.
    begin = tirx.all(tirx.isnan(other), tirx.Not(tirx.isnan(one)))
    return tirx.any(tirx.NE(one, other), begin)


def _group_count(builder: Builder, groups: relax.Expr, size: Size) -> Size:
    if isinstance(size, int) and not size:
        return 0

    def compute(numbers: te.Tensor) -> te.Tensor:
        (extent,) = numbers.shape

        def count(_: tirx.Var) -> tirx.Expr:
            return tirx.if_then_else(extent > 0, numbers(tirx.max(extent - 1, 0)) + _ONE, _ZERO)

        return te.compute((1,), count, "count")

    found = builder.emit_te(compute, groups, primfunc_name_hint="count_groups")
    return builder.variables_of(found, 1)[0]


def _combined(
    builder: Builder,
    groups: relax.Expr,
    order: relax.Expr,
    count: Size,
    combine: Callable[[tirx.Expr, tirx.Expr, tirx.Expr], tirx.Expr],
) -> relax.Expr:
    """Combines, group by group, the indices of its elements in order."""
    function = LoopFunction(builder.node)
    numbers, places = function.tensor(groups, "groups"), function.tensor(order, "order")
    (size,) = numbers.shape
    target = tirx.decl_buffer([function.size(count)], "int64", "combined")

    def write(at: tirx.Expr) -> tirx.Stmt:
        group = load(numbers, [at])
        before = load(numbers, [tirx.max(at - _ONE, _ZERO)])
        fresh = tirx.any(tirx.EQ(at, _ZERO), tirx.NE(before, group))
        value = combine(load(target, [group]), load(places, [at]), fresh)
        return store(target, value, [group])

    function.body.append(nest([size], write))
    return function.call(builder, target, [count], "combine_groups")


def _first_of(old: tirx.Expr, new: tirx.Expr, fresh: tirx.Expr) -> tirx.Expr:
    return tirx.Select(fresh, new, old)


def _one_more(old: tirx.Expr, _: tirx.Expr, fresh: tirx.Expr) -> tirx.Expr:
    return tirx.Select(fresh, _ONE, old + _ONE)


def _inverse(builder: Builder, order: relax.Expr, values: relax.Expr | None) -> relax.Expr:
    """Returns values, by default their positions, at the places that an order names."""
    function = LoopFunction(builder.node)
    places = function.tensor(order, "order")
    given = None if values is None else function.tensor(values, "values")
    (size,) = places.shape
    target = tirx.decl_buffer([size], "int64", "inverse")

    def write(at: tirx.Expr) -> tirx.Stmt:
        value = at if given is None else load(given, [at])
        return store(target, value, [load(places, [at])])

    function.body.append(nest([size], write))
    return function.call(builder, target, shape_of(order), "invert")
