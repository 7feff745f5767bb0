"""Operators that move integers: Reshape and its kin, Transpose, Slice, Split, Pad, Concat.

Exactness: the integers are moved, not computed with. Where the output's grid is another one,
RESCALE by ``s_x / s_y`` rounds once, as QuantizeLinear of the moved real number does; a Relu or
Clip behind is CLAMP. Padding takes the integer that stands for the padded value.

Layout: images are NHWC on the NPU. Axes of Transpose, Slice and Concat are renamed; a Reshape to or
from an image is TRANSPOSE to ONNX's order, RESHAPE, and TRANSPOSE again, where axes larger than one
change their order, and RESHAPE alone where they do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.targets.npu.cone import (
    Cone,
    Grid,
    Source,
    Unfit,
    activation,
    constant,
    real_constant,
    static_shape,
)
from ingot.targets.npu.rules.base import Layer, Rule, ints_attribute, nhwc_axis
from ingot.targets.npu.rules.pooling import regridded
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

Array = npt.NDArray[Any]
Move = Callable[[TosaGraph, Sequence[TosaTensor]], TosaTensor]

_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


@dataclasses.dataclass(frozen=True)
class Movement(Layer):
    """A move of one or several tensors.

    Attributes:
        parts: What is moved.
        move: Adds the moving operators, on the common grid of the parts.
        common: The grid that the parts are brought to first.
        grid: The output's grid.
        bounds: Bounds of the output in integers.
    """

    parts: tuple[Source, ...]
    move: Move
    common: Grid
    grid: Grid
    bounds: tuple[int, int]

    @property
    def sources(self) -> Sequence[Source]:
        """What is moved."""
        return self.parts

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the move, and RESCALE where grids differ."""
        same = [
            regridded(graph, tensor, part.grid, self.common)
            for tensor, part in zip(inputs, self.parts, strict=True)
        ]
        moved = regridded(graph, self.move(graph, same), self.common, self.grid)
        return graph.clamp(moved, *self.bounds)


class MovementRule(Rule):
    """Operators that only move values; and a change of grid alone."""

    name: ClassVar[str] = "movement"

    def match(self, cone: Cone) -> Layer:
        """Reads a move."""
        grid = cone.require_grid()
        if not cone.body:
            move: Move = _first
            operands = [cone.nodes[0].inputs[0] if cone.nodes else cone.root]
            node = None
        else:
            node = cone.only()
            operands = list(node.inputs) if node.op_type == "Concat" else [node.inputs[0]]
        parts = [activation(value) for value in operands]
        found = tuple(part for part in parts if part is not None)
        if len(found) != len(parts):
            raise Unfit("it moves what is not integers")
        if any(part.grid.dtype != grid.dtype for part in found):
            raise Unfit("it changes the width of integers")
        if node is not None:
            move = _move(node, found, cone)
        common = grid if len(found) > 1 else found[0].grid
        return Movement(found, move, common, grid, cone.integer_bounds())


def _first(graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
    del graph
    return inputs[0]


def _move(node: ir.Node, parts: Sequence[Source], cone: Cone) -> Move:
    shape = static_shape(parts[0].integers)
    # A Split's outputs are cones of their own.
    out = static_shape(cone.root if node.op_type == "Split" else node.outputs[0])
    if node.op_type in _RESHAPES:
        return lambda graph, inputs: _reshaped(graph, inputs[0], shape, out)
    if node.op_type == "Transpose":
        axes = ints_attribute(node, "perm", tuple(reversed(range(len(shape)))))
        return lambda graph, inputs: _transposed(graph, inputs[0], axes)
    if node.op_type == "Concat":
        axis = nhwc_axis(node.attributes["axis"].as_int(), len(out))
        return lambda graph, inputs: graph.concat(inputs, axis)
    if node.op_type in ("Slice", "Split"):
        starts = _slice_starts(node, shape) if node.op_type == "Slice" else _split_starts(cone)
        return lambda graph, inputs: graph.slice(inputs[0], _nhwc(starts), _nhwc(out))
    if node.op_type == "Pad":
        pads, value = _padding(node, len(shape), parts[0].grid)
        return lambda graph, inputs: graph.pad(inputs[0], _nhwc(pads), value)
    raise Unfit("not a move")


def _nhwc(values: Sequence[Any]) -> list[Any]:
    """Reorders one entry per axis as the NPU has the axes."""
    return [values[axis] for axis in _TO_NHWC] if len(values) == 4 else list(values)


def _reshaped(
    graph: TosaGraph, x: TosaTensor, before: Sequence[int], after: Sequence[int]
) -> TosaTensor:
    if len(before) == 4:
        x = graph.transpose(x, _TO_NCHW)
    x = graph.reshape(x, after)
    return graph.transpose(x, _TO_NHWC) if len(after) == 4 else x


def _transposed(graph: TosaGraph, x: TosaTensor, axes: Sequence[int]) -> TosaTensor:
    if len(axes) != 4:
        return graph.transpose(x, axes)
    # From NHWC to NCHW, by the axes, and back: one permutation.
    return graph.transpose(x, [_TO_NCHW[axes[axis]] for axis in _TO_NHWC])


def _slice_starts(node: ir.Node, shape: Sequence[int]) -> list[int]:
    starts, ends, axes, steps = (
        constant(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2, 3, 4)
    )
    if starts is None or ends is None or (steps is not None and np.any(steps != 1)):
        raise Unfit("a slice with steps, or whose bounds are not constant")
    where = range(len(starts)) if axes is None else [int(axis) for axis in axes]
    found = [0] * len(shape)
    for axis, start in zip(where, starts, strict=True):
        size = shape[axis]
        found[axis] = min(max(int(start) + (size if start < 0 else 0), 0), size)
    return found


def _split_starts(cone: Cone) -> list[int]:
    node = cone.body[0]
    value = cone.root
    while value.producer() is not node:
        producer = value.producer()
        assert producer is not None and producer.inputs[0] is not None
        value = producer.inputs[0]
    axis = node.attributes.get_int("axis", 0) or 0
    shapes = [static_shape(output) for output in node.outputs]
    before = node.outputs.index(value)
    found = [0] * len(shapes[0])
    found[axis] = sum(shape[axis] for shape in shapes[:before])
    return found


def _padding(node: ir.Node, rank: int, grid: Grid) -> tuple[list[tuple[int, int]], int]:
    if node.attributes.get_string("mode", "constant") != "constant":
        raise Unfit("padding that is not constant")
    pads = constant(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    filled = np.zeros(1) if given is None else real_constant(given)
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if pads is None or filled is None or np.any(pads < 0):
        raise Unfit("padding by what is not constant, or negative")
    where = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    found = [(0, 0)] * rank
    for index, axis in enumerate(where):
        found[axis] = (int(pads[index]), int(pads[index + len(pads) // 2]))
    return found, grid.quantize(float(filled.reshape(())))
