"""Products and sums with a constant for each channel: a depthwise 1 x 1 CONV2D.

Exactness. Operators one after another, each with a constant, are ``y = a x + b`` with one ``a`` and
``b`` for each channel. The weight is 64 times the sign of ``a``, the accumulator's unit therefore
``s_x * |a| / 64``, and RESCALE by that over ``s_y`` rounds once: a product is exact. ``b`` becomes
the bias, to the nearest of those units; a sum whose ``b`` lies between two of them is off by half
of one at most, a 128th of the input's step. Where ``a`` is zero the result is ``b`` alone.

Constants of a single element need no convolution: the function is a table (see ``table``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.targets.npu.cone import Cone, Source, Unfit, activation, real_constant, static_shape
from ingot.targets.npu.rules.base import Layer, Rule
from ingot.targets.npu.rules.linear import Linear, accumulator_bias, finished
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

Array = npt.NDArray[Any]

_IMAGE_AXES = 4
# Parts of the input's step in which the bias is counted.
_PARTS = 64
# The unit of a constant channel: so many parts of the output's step.
_CONSTANT_PARTS = float(1 << 15)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Affine(Linear):
    """A product and a sum for each channel; its weights are [C]."""

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the convolution; what is no image is one pixel for each row."""
        (x,) = inputs
        channels = x.shape[-1]
        pixels = x
        if len(x.shape) != _IMAGE_AXES:
            rows = int(np.prod(x.shape[:-1], dtype=np.int64))
            pixels = graph.reshape(x, (1, rows, 1, channels))
        sums = graph.conv2d(
            pixels, self.weights.reshape(1, 1, channels, 1), self.bias,
            self.source.grid.zero_point,
            strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), depthwise=True,
        )  # fmt: skip
        result = finished(graph, sums, self.factors, self.grid, self.bounds)
        return graph.reshape(result, x.shape)


class AffineRule(Rule):
    """Mul, Div, Add and Sub with constants along the channels, one or several."""

    name: ClassVar[str] = "affine"

    def match(self, cone: Cone) -> Layer:
        """Reads the operators and sums them up."""
        grid = cone.require_grid()
        if not cone.body or any(node.op_type not in _STEPS for node in cone.body):
            raise Unfit("not products and sums with constants")
        source = _source(cone.body[0])
        shape = static_shape(source.integers)
        if static_shape(cone.root) != shape:
            raise Unfit("a constant that makes more of its operand")
        if source.grid.dtype != grid.dtype:
            raise Unfit("it changes the width of integers")
        count = shape[1] if len(shape) == _IMAGE_AXES else shape[-1]
        factor, offset = np.ones(count), np.zeros(count)
        value = cone.body[0].inputs[_operand(cone.body[0])]
        for node in cone.body:
            place = 0 if node.inputs[0] is value else 1
            if node.inputs[place] is not value:
                raise Unfit("not one operator after another")
            constants = _along_channels(node.inputs[1 - place], len(shape), count)
            factor, offset = _STEPS[node.op_type](factor, offset, constants, place == 0)
            value = node.outputs[0]
        step = source.grid.scale * abs(factor) / _PARTS
        unit = np.where(factor == 0, grid.scale / _CONSTANT_PARTS, step)
        return Affine(
            source=source,
            weights=(np.sign(factor) * _PARTS).astype(np.int8),
            bias=accumulator_bias(offset, unit, source.grid),
            factors=unit / grid.scale,
            grid=grid,
            bounds=cone.integer_bounds(),
            macs=0,
        )


def _product(a: Array, b: Array, c: Array, first: bool) -> tuple[Array, Array]:
    del first
    return a * c, b * c


def _quotient(a: Array, b: Array, c: Array, first: bool) -> tuple[Array, Array]:
    if not first or np.any(c == 0):
        raise Unfit("a constant divided by an activation, or a division by zero")
    return a / c, b / c


def _sum(a: Array, b: Array, c: Array, first: bool) -> tuple[Array, Array]:
    del first
    return a, b + c


def _difference(a: Array, b: Array, c: Array, first: bool) -> tuple[Array, Array]:
    return (a, b - c) if first else (-a, c - b)


_STEPS = {"Mul": _product, "Div": _quotient, "Add": _sum, "Sub": _difference}


def _operand(node: ir.Node) -> int:
    return 0 if activation(node.inputs[0]) is not None else 1


def _source(node: ir.Node) -> Source:
    found = [source for value in node.inputs if (source := activation(value)) is not None]
    if len(found) != 1:
        raise Unfit("not products and sums of one activation")
    return found[0]


def _along_channels(value: ir.Value | None, rank: int, count: int) -> Array:
    """Returns a constant's real values, one for each channel."""
    real = real_constant(value)
    if real is None or real.ndim > rank:
        raise Unfit("an operand that is not constant")
    shape = (1,) * (rank - real.ndim) + real.shape
    axis = 1 if rank == _IMAGE_AXES else rank - 1
    if any(size != 1 for index, size in enumerate(shape) if index != axis):
        raise Unfit("a constant that differs along more than the channels")
    return np.broadcast_to(real.reshape(-1), (count,))
