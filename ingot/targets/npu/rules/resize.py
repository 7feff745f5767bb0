"""Resize: RESIZE, nearest or linear.

Exactness. TOSA takes output index ``o`` from position ``(o * d + offset) / n`` of the input, with
integers. Each of ONNX's coordinate transformations is such a fraction; half pixels double ``n`` and
``d``. A nearest neighbour is an input's integer, and TOSA rounds ``.5`` upwards: an offset of parts
of ``1 / (2 n)`` makes of that ONNX's floor, ceil, or rounding downwards, without moving any other
position across a boundary. A linear interpolation is exact in int32, in units of
``1 / (n_y * n_x)``, and RESCALE to the output's grid rounds once.

Twice the height and width, centres kept: with each pixel there twice, and the edges once more, the
result is a depthwise CONV2D by (1, 2, 1) down and across, in units of a sixteenth: the integers
that RESIZE gives, which only an Ethos-U85 has, for any zero point, and in half of its cycles.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ingot.targets.npu.cone import Cone, Grid, Unfit, activation, constant, static_shape
from ingot.targets.npu.rules.base import Layer, OneSourceLayer, Rule
from ingot.targets.npu.rules.linear import finished
from ingot.targets.npu.rules.pooling import regridded
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

# Over pixels that are there twice: a quarter of one neighbour, three quarters of the other.
_DOUBLING = (1, 2, 1)
# RESIZE: scale_n is at most 2 ** 11.
_MAX_NUMERATOR = 1 << 11


@dataclasses.dataclass(frozen=True)
class Axis:
    """How one axis is resized: position ``(o * d + offset) / n``."""

    n: int
    d: int
    offset: int

    def border(self, size: int, out: int) -> int:
        """What TOSA asks for, so that the sizes follow from the scale."""
        return (out - 1) * self.d - (size - 1) * self.n + self.offset


@dataclasses.dataclass(frozen=True)
class Resize(OneSourceLayer):
    """A resize of an image.

    Attributes:
        linear: Whether to interpolate.
        axes: Down and across.
        sizes: Input height and width, output height and width.
        grid: The output's grid.
        bounds: Bounds of the output in integers.
    """

    linear: bool
    axes: tuple[Axis, Axis]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    grid: Grid
    bounds: tuple[int, int]

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the resize of an NHWC image."""
        x, grid = inputs[0], self.source.grid
        resized = graph.resize(
            x,
            linear=self.linear,
            scale=[number for axis in self.axes for number in (axis.n, axis.d)],
            offset=[axis.offset for axis in self.axes],
            border=[
                axis.border(size, out)
                for axis, size, out in zip(self.axes, *self.sizes, strict=True)
            ],
            size=self.sizes[1],
        )
        if not self.linear:
            return graph.clamp(regridded(graph, resized, grid, self.grid), *self.bounds)
        factor = grid.scale / (self.axes[0].n * self.axes[1].n * self.grid.scale)
        scaled = graph.rescale(resized, factor, 0, self.grid.zero_point, self.grid.dtype)
        return graph.clamp(scaled, *self.bounds)


@dataclasses.dataclass(frozen=True)
class LinearDoubling(OneSourceLayer):
    """An image of twice the height and width, interpolated.

    Attributes:
        grid: The output's grid.
        bounds: Bounds of the output in integers.
    """

    grid: Grid
    bounds: tuple[int, int]

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the edges once more, each pixel twice, and the weights 1, 2, 1 over that."""
        (x,) = inputs
        batch, height, width, channels = x.shape
        rows = [graph.slice(x, (0, y, 0, 0), (batch, 1, width, channels)) for y in (0, height - 1)]
        x = graph.concat([rows[0], x, rows[1]], axis=1)
        columns = [
            graph.slice(x, (0, 0, place, 0), (batch, height + 2, 1, channels))
            for place in (0, width - 1)
        ]
        x = graph.concat([columns[0], x, columns[1]], axis=2)
        twice = Axis(n=4, d=2, offset=-1)
        size = (2 * x.shape[1], 2 * x.shape[2])
        doubled = graph.resize(
            x, linear=False, scale=(4, 2, 4, 2), offset=(-1, -1),
            border=[twice.border(x.shape[1 + i], size[i]) for i in (0, 1)], size=size,
        )  # fmt: skip
        inner = graph.slice(doubled, (0, 1, 1, 0), (batch, size[0] - 2, size[1] - 2, channels))
        weights = np.outer(_DOUBLING, _DOUBLING).astype(np.int8)
        sums = graph.conv2d(
            inner, np.tile(weights[:, :, None, None], (1, 1, channels, 1)), np.zeros(channels),
            self.source.grid.zero_point,
            strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), depthwise=True,
        )  # fmt: skip
        factor = self.source.grid.scale / (int(weights.sum()) * self.grid.scale)
        return finished(graph, sums, np.full(channels, factor), self.grid, self.bounds)


class ResizeRule(Rule):
    """Resize of height and width by constant scales or sizes."""

    name: ClassVar[str] = "resize"

    def match(self, cone: Cone) -> Layer:
        """Reads a Resize."""
        node = cone.only()
        if node.op_type != "Resize":
            raise Unfit("not a resize")
        source = activation(node.inputs[0])
        if source is None:
            raise Unfit("its input is not integers")
        mode = node.attributes.get_string("mode", "nearest")
        shape, out = static_shape(source.integers), static_shape(node.outputs[0])
        if len(shape) != 4 or shape[:2] != out[:2] or mode not in ("nearest", "linear"):
            raise Unfit(f"a resize of mode {mode}, or of other axes than height and width")
        linear = mode == "linear"
        if linear and _doubles(node, shape, out):
            return LinearDoubling(source, cone.require_grid(), cone.integer_bounds())
        if linear and source.grid.zero_point:
            raise Unfit("a linear resize about another integer than zero")
        axes = [_axis(node, axis, shape[axis], out[axis], linear) for axis in (2, 3)]
        return Resize(
            source,
            linear,
            (axes[0], axes[1]),
            ((shape[2], shape[3]), (out[2], out[3])),
            cone.require_grid(),
            cone.integer_bounds(),
        )


def _doubles(node: ir.Node, shape: Sequence[int], out: Sequence[int]) -> bool:
    """Whether height and width are doubled with pixels' centres kept in proportion."""
    how = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return how in ("half_pixel", "pytorch_half_pixel") and all(
        out[axis] == 2 * shape[axis] and _scale(node, axis, shape[axis], out[axis]) == 2
        for axis in (2, 3)
    )


def _axis(node: ir.Node, axis: int, size: int, out: int, linear: bool) -> Axis:
    scale = _scale(node, axis, size, out)
    how = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if how == "align_corners":
        step = Fraction(size - 1, out - 1) if out > 1 else Fraction(1)
        start = Fraction(0)
    elif how == "asymmetric" or (how == "pytorch_half_pixel" and out == 1):
        step, start = 1 / scale, Fraction(0)
    elif how in ("half_pixel", "pytorch_half_pixel"):
        step = 1 / scale
        start = step / 2 - Fraction(1, 2)
    else:
        raise Unfit(f"a resize by {how}")
    n = math.lcm(step.denominator, start.denominator)
    d, offset = int(step * n), int(start * n)
    if not linear:
        rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
        shift = {
            "floor": 1 - n,
            "round_prefer_floor": -1,
            "round_prefer_ceil": 0,
            "ceil": n - 1,
        }.get(str(rounding))
        if shift is None:
            raise Unfit(f"a resize by {rounding}")
        n, d, offset = 2 * n, 2 * d, 2 * offset + shift
        repeats, rest = divmod(out, size)
        if not rest and all((o * d + offset + n // 2) // n == o // repeats for o in range(out)):
            # Each input so many times over, in the form that all of Ethos-U have.
            n, d, offset = 2 * repeats, 2, 1 - repeats
    if n > _MAX_NUMERATOR or d >= 16 * n or d == 0:
        raise Unfit(f"a resize from {size} to {out}")
    return Axis(n, d, offset)


def _scale(node: ir.Node, axis: int, size: int, out: int) -> Fraction:
    scales = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is not None and scales.size:
        if "axes" in node.attributes:
            raise Unfit("a resize of listed axes")
        return Fraction(float(scales[axis])).limit_denominator(_MAX_NUMERATOR)
    return Fraction(out, size)
