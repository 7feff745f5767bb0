"""Add, Sub and Mul of two activations: RESCALE both, the operator in int32, RESCALE the result.

Exactness of a sum on one grid. The operands less their zero points are added as they are, and
RESCALE by ``s_x / s_y`` rounds once: exact, and one operation of any Ethos-U. The quantizer of this
target puts the operands of a sum on one grid for that.

Exactness of a sum of two grids. With ``m`` the larger of the scales, an operand becomes
``(x - z_x) * (s_x / (2 m)) * 2 ** 20``, rounded once: at most ``2 ** 27`` for 8 bits, with an error
of half a unit of ``2 ** -20`` of twice the larger grid. The sum in int32 is exact, and RESCALE by
``2 m / (2 ** 20 * s_y)`` rounds to the output. Only a sum within ``2 ** -19`` of the middle between
two integers, in units of the output's grid times ``m / s_y``, can be rounded to the other side.
For 16 bits it is ``2 ** 15``: operands stay below ``2 ** 30``. Either is what an addition of
Ethos-U has inside, so that the four operators become one operation.

Exactness of a product. The operands less their zero points fit 9 (17) bits and are multiplied in
int32 without rounding; RESCALE by ``s_a * s_b / s_y`` rounds once.

Order. Sums and products are the same in either order. Vela computes the second operand first, and
on an Ethos-U85 makes the operator the end of what computes the first one: a convolution of many
products hides it, one of few waits for it. There the operand of more products comes first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

from ingot.targets.npu.cone import (
    Cone,
    Grid,
    Source,
    Unfit,
    activation,
    clip_bounds,
    is_quantize,
    quantized_constant,
    static_shape,
)
from ingot.targets.npu.rules.base import Layer, Rule, to_nhwc
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

# Fraction bits of the operands of a sum.
_HEADROOM = {"int8": 20, "int16": 15}
_OPERATORS = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL"}


@dataclasses.dataclass(frozen=True)
class Elementwise(Layer):
    """A sum, difference or product.

    Attributes:
        operator: ``ADD``, ``SUB`` or ``MUL``.
        operands: Left and right.
        shapes: Shapes that the operands are given, of the rank of the result, as the NPU has them.
        products: What the convolutions take that compute the operands.
        grid: The output's grid.
        bounds: Bounds of the output in integers.
    """

    operator: str
    operands: tuple[Source, Source]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    products: tuple[int, int]
    grid: Grid
    bounds: tuple[int, int]

    @property
    def sources(self) -> Sequence[Source]:
        """The operands."""
        return self.operands

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the operator and its RESCALEs."""
        grids = [operand.grid for operand in self.operands]
        largest = max(grid.scale for grid in grids)
        steps = float(1 << _HEADROOM[self.grid.dtype])
        product = self.operator == "MUL"
        direct = product or grids[0].scale == grids[1].scale
        wide = []
        for tensor, grid, shape in zip(inputs, grids, self.shapes, strict=True):
            factor = 1.0 if direct else steps * grid.scale / (2 * largest)
            shaped = graph.reshape(tensor, shape)
            wide.append(graph.rescale(shaped, factor, grid.zero_point, 0, "int32"))
        commutes = self.operator != "SUB"
        if graph.ends_in_elementwise and commutes and self.products[0] < self.products[1]:
            wide.reverse()
        result = graph.binary(self.operator, *wide)
        if product:
            unit = grids[0].scale * grids[1].scale
        else:
            unit = largest if direct else 2 * largest / steps
        scaled = graph.rescale(
            result, unit / self.grid.scale, 0, self.grid.zero_point, self.grid.dtype
        )
        return graph.clamp(scaled, *self.bounds)


class ElementwiseRule(Rule):
    """Add, Sub and Mul, with broadcasting."""

    name: ClassVar[str] = "elementwise"

    def match(self, cone: Cone) -> Layer:
        """Reads a sum, difference or product of two activations."""
        node = cone.only()
        if node.op_type not in _OPERATORS:
            raise Unfit("not a sum or product")
        operands = tuple(activation(value) for value in node.inputs)
        if len(operands) != 2 or operands[0] is None or operands[1] is None:
            raise Unfit("not a sum or product of two activations")
        grid = cone.require_grid()
        if any(operand.grid.dtype != grid.dtype for operand in operands if operand):
            raise Unfit("operands of different widths")
        shapes = [static_shape(operand.integers) for operand in operands if operand]
        rank = max(map(len, shapes))
        if rank == 4 and min(map(len, shapes)) not in (0, 4):
            raise Unfit("operands of different ranks")
        padded = [to_nhwc((1,) * (rank - len(shape)) + shape) for shape in shapes]
        return Elementwise(
            _OPERATORS[node.op_type],
            (operands[0], operands[1]),
            (padded[0], padded[1]),
            (_products(operands[0]), _products(operands[1])),
            grid,
            cone.integer_bounds(),
        )


def _products(source: Source) -> int:
    """How many products the convolution takes whose result an operand is; 0 for other results."""
    node = source.integers.producer()
    while node is not None and (is_quantize(node) or clip_bounds(node) is not None):
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    if node is None or node.op_type != "Conv" or node.domain != "":
        return 0
    weights = quantized_constant(node.inputs[1])
    if weights is None:
        return 0
    terms: Sequence[int] = weights.integers.shape[1:]
    return math.prod(static_shape(node.outputs[0])) * math.prod(terms)
