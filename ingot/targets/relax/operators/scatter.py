"""Writing by index: the ONNX operators ``ScatterElements`` and ``ScatterND``.

Indices count from the end where they are negative. That none is outside of the data is checked
before anything is written. Updates of one place are made in the order in which they are given.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.broadcasting import equal_size
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, at_least, described, same, shape_of
from ingot.targets.relax.loops import LoopFunction, load, nest, store
from ingot.targets.relax.operators.inputs import tensor
from ingot.targets.relax.value_checks import require_indices

_REDUCTIONS: dict[str, Callable[[tirx.Expr, tirx.Expr], tirx.Expr]] = {
    "none": lambda _, new: new,
    "add": operator.add,
    "mul": operator.mul,
    "max": tirx.max,
    "min": tirx.min,
}


def _reduction(attributes: dict[str, Any]) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
    name = attributes.get("reduction", b"none").decode()
    if name not in _REDUCTIONS:
        raise UnsupportedOperatorError(f"reduction {name!r} is not lowered")
    return _REDUCTIONS[name]


def require_within(
    builder: Builder, indices: Sequence[Size], data: Sequence[Size], axis: int
) -> None:
    """Has it checked that indices are no more than the data along all axes but one."""
    for at, (count, size) in enumerate(zip(indices, data, strict=True)):
        if at == axis or same(count, size):
            continue
        message = f"there are {described(count)} indices for {described(size)} entries"
        if not at_least(as_expression(size) - count, 0):
            builder.require(as_expression(count) <= as_expression(size), message)


def scatter_elements(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``ScatterElements``: writes elements at indices along one axis.

    Args:
        builder: The builder to emit to.
        inputs: The data, the indices, and as many updates.
        attributes: ``axis``, and ``reduction``: how an update joins what is there.
    """
    data, indices, updates = (tensor(builder, entry) for entry in inputs)
    shape, counts = shape_of(data), shape_of(indices)
    axis = attributes.get("axis", 0) % len(shape)
    require_within(builder, counts, shape, axis)
    for count, given in zip(counts, shape_of(updates), strict=True):
        equal_size(builder, count, given)
    require_indices(builder, indices, [shape[axis]])
    combined = _reduction(attributes)
    function, source, places, values, target = _parameters(builder, data, indices, updates)

    def write(*at: tirx.Expr) -> tirx.Stmt:
        index = _place(builder, load(places, at).astype("int64"), source.shape[axis])
        place = [*at[:axis], index, *at[axis + 1 :]]
        return store(target, combined(load(target, place), load(values, at)), place)

    function.body += [_copy(source, target), nest(list(places.shape), write)]
    return function.call(builder, target, shape, "scatter_elements")


def scatter_nd(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``ScatterND``: writes slices at tuples of indices.

    Args:
        builder: The builder to emit to.
        inputs: The data; the indices, a tuple along their last dimension; and for each an update.
        attributes: ``reduction``: how an update joins what is there.
    """
    data, indices, updates = (tensor(builder, entry) for entry in inputs)
    shape, counts = shape_of(data), shape_of(indices)
    depth = counts[-1]
    if not isinstance(depth, int):
        raise UnsupportedOperatorError("the number of indices is known only when the model runs")
    for wanted, given in zip([*counts[:-1], *shape[depth:]], shape_of(updates), strict=True):
        equal_size(builder, wanted, given)
    if depth:
        require_indices(builder, indices, shape[:depth])
    combined = _reduction(attributes)
    function, source, places, values, target = _parameters(builder, data, indices, updates)
    tuples = list(places.shape)[:-1]

    def indices_at(at: Sequence[tirx.Expr]) -> list[tirx.Expr]:
        return [load(places, [*at, j]).astype("int64") for j in range(depth)]

    def write(*at: tirx.Expr) -> tirx.Stmt:
        outer, inner = at[: len(tuples)], at[len(tuples) :]
        pairs = zip(indices_at(outer), source.shape, strict=False)
        place = [*(_place(builder, index, size) for index, size in pairs), *inner]
        return store(target, combined(load(target, place), load(values, at)), place)

    function.body += [
        _copy(source, target),
        nest([*tuples, *list(source.shape)[depth:]], write),
    ]
    return function.call(builder, target, shape, "scatter_nd")


def _parameters(
    builder: Builder, data: relax.Expr, indices: relax.Expr, updates: relax.Expr
) -> tuple[LoopFunction, tirx.Buffer, tirx.Buffer, tirx.Buffer, tirx.Buffer]:
    function = LoopFunction(builder.node)
    source = function.tensor(data, "data")
    places = function.tensor(indices, "indices")
    values = function.tensor(updates, "updates")
    target = tirx.decl_buffer(source.shape, source.dtype, "scattered")
    return function, source, places, values, target


def _copy(source: tirx.Buffer, target: tirx.Buffer) -> tirx.Stmt:
    return nest(list(source.shape), lambda *at: store(target, load(source, at), at), shared=True)


def _place(builder: Builder, index: tirx.Expr, size: tirx.Expr) -> tirx.Expr:
    place = from_front(index, size)
    return place if builder.taken is None else inside(place, size)


def from_front(index: tirx.Expr, size: tirx.Expr) -> tirx.Expr:
    """Returns an index counted from the front."""
    return tirx.Select(index < 0, index + size, index)


def inside(index: tirx.Expr, size: tirx.Expr) -> tirx.Expr:
    """Returns the index next to one that is inside of what has entries."""
    return tirx.max(tirx.min(index, size - 1), tirx.const(0, index.ty.dtype))
