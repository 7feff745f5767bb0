"""Operators that reduce or make known tensors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from ingot.targets.relax.expressions import Size
from ingot.targets.relax.shape_values import elements as on
from ingot.targets.relax.shape_values.arithmetic import Rule
from ingot.targets.relax.shape_values.known import (
    LARGEST,
    Known,
    elements_of,
    known_vector,
)


def _reduced(function: on.Binary) -> Rule:
    def rule(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
        data = inputs[0]
        given = inputs[1] if len(inputs) > 1 else None
        axes = list(attributes.get("axes", ())) if given is None else given.flat
        if given is not None and not given.is_constant:
            return None
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return data
        rank = data.elements.ndim
        reduced = sorted({int(axis) % max(rank, 1) for axis in axes} or range(rank))
        if not all(data.shape[axis] for axis in reduced):
            return None
        kept = [axis for axis in range(rank) if axis not in reduced]
        rows = np.transpose(data.elements, [*kept, *reduced])
        rows = rows.reshape(int(np.prod([data.shape[axis] for axis in kept], dtype=int)), -1)
        shape = [data.shape[axis] for axis in kept]
        if attributes.get("keepdims", 1):
            shape = [1 if axis in reduced else data.shape[axis] for axis in range(rank)]
        values = [
            functools.reduce(lambda a, b: function(a, b, data.dtype), list(row)) for row in rows
        ]
        return None if None in values else data.of(elements_of(values, shape))

    return rule


def _cumulative_sum(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, axis = inputs
    if data.elements.ndim != 1 or not axis.is_constant:
        return None
    values = data.flat[::-1] if attributes.get("reverse", 0) else data.flat
    sums: list[Any] = []
    running: Any = 0
    for value in values:
        after = on.add(running, value, data.dtype)
        sums.append(running if attributes.get("exclusive", 0) else after)
        running = after
    if attributes.get("reverse", 0):
        sums.reverse()
    return data.of(elements_of(sums, data.shape))


def _constant_of_shape(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    shape = inputs[0]
    value = attributes.get("value")
    array = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    if not shape.is_constant or array.dtype.name not in ("int32", "int64", "bool"):
        return None
    sizes = [int(size) for size in shape.flat]
    if np.prod(sizes, dtype=float) > LARGEST:
        return None
    return Known(array.dtype.name, np.full(sizes, array.reshape(-1)[0].item(), dtype=object))


def _range(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    start, limit, step = inputs
    if not all(each.is_constant for each in inputs) or start.is_float:
        return None
    values = range(start.scalar(), limit.scalar(), step.scalar()) if step.scalar() else ()
    if not len(values) or len(values) > LARGEST:
        return None
    return known_vector(values, start.dtype)


REDUCTION: dict[str, Rule] = {
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumulative_sum,
    "Range": _range,
    "ReduceMax": _reduced(on.maximum),
    "ReduceMin": _reduced(on.minimum),
    "ReduceProd": _reduced(on.multiply),
    "ReduceSum": _reduced(on.add),
}


def shape_of_tensor(sizes: Sequence[Size], attributes: dict[str, Any]) -> Known:
    """What ``Shape`` gives of a tensor: its dimensions, or those between ``start`` and ``end``."""
    return known_vector(list(sizes)[attributes.get("start", 0) : attributes.get("end")])
