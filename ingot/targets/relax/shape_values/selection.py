"""Operators that pick, join and rearrange the elements of known tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ingot.targets.relax.shape_values.arithmetic import Rule
from ingot.targets.relax.shape_values.known import Known


def _gather(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, indices = inputs
    if not indices.is_constant:
        return None
    # "wrap" would take any index; what is out of range is left to the operator, which refuses it.
    try:
        taken = np.take(data.elements, indices.array(), axis=attributes.get("axis", 0))
    except IndexError:
        return None
    return data.of(taken)


def _gather_elements(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, indices = inputs
    if not indices.is_constant:
        return None
    axis = attributes.get("axis", 0) % data.elements.ndim
    at = indices.array()
    size = data.shape[axis]
    if ((at < -size) | (at >= size)).any():
        return None
    return data.of(np.take_along_axis(data.elements, np.where(at < 0, at + size, at), axis))


def _gather_nd(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, indices = inputs
    if not indices.is_constant or attributes.get("batch_dims", 0):
        return None
    try:
        return data.of(data.elements[tuple(np.moveaxis(indices.array(), -1, 0))])
    except IndexError:
        return None


def _scatter_nd(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, indices, updates = inputs
    if not indices.is_constant or attributes.get("reduction", b"none") != b"none":
        return None
    scattered = data.elements.copy()
    try:
        for at in np.ndindex(indices.shape[:-1]):
            scattered[tuple(indices.array()[at])] = updates.elements[at]
    except IndexError:
        return None
    return data.of(scattered)


def _scatter_elements(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, indices, updates = inputs
    if not indices.is_constant or attributes.get("reduction", b"none") != b"none":
        return None
    axis = attributes.get("axis", 0) % data.elements.ndim
    scattered = data.elements.copy()
    try:
        for at in np.ndindex(indices.shape):
            place = list(at)
            place[axis] = int(indices.elements[at])
            scattered[tuple(place)] = updates.elements[at]
    except IndexError:
        return None
    return data.of(scattered)


def _slice(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    data, *bounds = inputs
    if len(bounds) < 2 or not all(bound is None or bound.is_constant for bound in bounds):
        return None
    starts, ends = (bound.flat for bound in bounds[:2])
    axes = bounds[2].flat if len(bounds) > 2 and bounds[2] is not None else range(len(starts))
    steps = bounds[3].flat if len(bounds) > 3 and bounds[3] is not None else [1] * len(starts)
    places: list[slice] = [slice(None)] * data.elements.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = data.shape[axis]
        # From the last element down to the first, the end lies before the first.
        stop = None if step < 0 and end < -size else end
        places[axis] = slice(start, stop, step)
    return data.of(data.elements[tuple(places)])


def _concat(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known:
    axis = attributes.get("axis", 0)
    return inputs[0].of(np.concatenate([part.elements for part in inputs], axis=axis))


def _split(inputs: Sequence[Known], attributes: dict[str, Any]) -> list[Known] | None:
    data = inputs[0]
    axis, count = attributes.get("axis", 0), attributes["tvm_custom"]["num_outputs"]
    if len(inputs) > 1 and inputs[1] is not None:
        if not inputs[1].is_constant:
            return None
        sizes = inputs[1].flat
    else:
        each = -(-data.shape[axis] // count)
        sizes = [each] * (count - 1)
        sizes.append(data.shape[axis] - sum(sizes))
    return [data.of(part) for part in np.split(data.elements, np.cumsum(sizes)[:-1], axis=axis)]


def _axes(inputs: Sequence[Known], attributes: dict[str, Any]) -> tuple[int, ...] | None:
    """Axes from the second input or, before opset 13, from the attribute; None without."""
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(int(axis) for axis in inputs[1].flat)
    return tuple(attributes["axes"]) if "axes" in attributes else None


def _squeeze(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known:
    return inputs[0].of(np.squeeze(inputs[0].elements, _axes(inputs, attributes)))


def _unsqueeze(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    axes = _axes(inputs, attributes)
    return None if axes is None else inputs[0].of(np.expand_dims(inputs[0].elements, axes))


def _reshape(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, shape = inputs
    if not shape.is_constant or 0 in data.shape:
        return None
    sizes = [
        data.shape[at] if size == 0 and not attributes.get("allowzero", 0) else int(size)
        for at, size in enumerate(shape.flat)
    ]
    return data.of(data.elements.reshape(sizes))


def _flatten(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known:
    data = inputs[0]
    axis = attributes.get("axis", 1)
    axis += data.elements.ndim if axis < 0 else 0
    rows = int(np.prod(data.shape[:axis], dtype=int))
    return data.of(data.elements.reshape(rows, -1))


def _transpose(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known:
    return inputs[0].of(np.transpose(inputs[0].elements, attributes.get("perm")))


def _expand(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    data, shape = inputs
    if not shape.is_constant:
        return None
    sizes = np.broadcast_shapes(data.shape, tuple(int(size) for size in shape.flat))
    return data.of(np.broadcast_to(data.elements, sizes).copy())


def _tile(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    data, repeats = inputs
    if not repeats.is_constant:
        return None
    return data.of(np.tile(data.elements, [int(count) for count in repeats.flat]))


def _nonzero(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    data = inputs[0]
    if not data.is_constant or not data.shape:
        return None
    return Known("int64", np.array(np.nonzero(data.array()), dtype=object))


SELECTION: dict[str, Rule] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _nonzero,
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
