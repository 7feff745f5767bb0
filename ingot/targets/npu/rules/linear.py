"""What layers that multiply an activation by constant weights have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.targets.npu.cone import (
    Cone,
    Grid,
    Source,
    Unfit,
    activation,
    quantized_constant,
    real_constant,
)
from ingot.targets.npu.rules.base import OneSourceLayer
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

Array = npt.NDArray[Any]

_MAX_BIAS = {"int8": 2**31, "int16": 2**47}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(OneSourceLayer):
    """Sums of products with constant weights, brought to a grid.

    Attributes:
        weights: int8, output channels first.
        bias: [O], in the accumulator's unit: the source's scale times the weights'.
        factors: What the accumulator is multiplied by, [O]: to the output's grid, or to real
            numbers where ``grid`` is None.
        grid: The output's grid; None where it stays float.
        bounds: Bounds of the output in integers.
        macs: Multiply-adds.
    """

    weights: Array
    bias: Array
    factors: Array
    grid: Grid | None
    bounds: tuple[int, int]
    macs: int

    @property
    def accumulator_scales(self) -> Sequence[float] | None:
        """The factors, where the result stays float."""
        return None if self.grid is not None else [float(f) for f in self.factors]


def finished(
    graph: TosaGraph, sums: TosaTensor, factors: Array, grid: Grid | None, bounds: tuple[int, int]
) -> TosaTensor:
    """Brings accumulators to the output's grid and bounds; leaves them where there is none."""
    if grid is None:
        return sums
    unique = np.unique(factors)
    scaled = graph.rescale(
        sums, float(unique[0]) if len(unique) == 1 else factors, 0, grid.zero_point, grid.dtype
    )
    return graph.clamp(scaled, *bounds)


def linear_operands(
    cone: Cone, node: ir.Node, columns: int = 0
) -> tuple[Source, Array, Array, Array]:
    """Returns what a linear layer multiplies: source, int8 weights, bias, factors per row.

    Args:
        cone: The cone.
        node: Conv, Gemm or MatMul: activation, weights, perhaps bias.
        columns: The axis of the weights that output channels run along.

    Raises:
        Unfit: The weights are not constant int8 with a scale per output channel, or the bias not
            constant, or the result is float and an accumulator does not fit 32 bits.
    """
    source = activation(node.inputs[0])
    weights = quantized_constant(node.inputs[1])
    if source is None or weights is None:
        raise Unfit("it does not multiply integers by constant int8 weights")
    if cone.grid is None and source.grid.dtype == "int16":
        raise Unfit("its result stays float, and accumulators of 16-bit activations have 48 bits")
    if weights.integers.dtype != np.int8 or (
        weights.scales.size > 1 and weights.axis % weights.integers.ndim != columns
    ):
        raise Unfit("its weights are not int8 with a scale per output channel")
    count = weights.integers.shape[columns]
    unit = np.broadcast_to(source.grid.scale * weights.scales, (count,))
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = np.zeros(count) if given is None else real_constant(given)
    if bias is None:
        raise Unfit("its bias is not constant")
    integers = accumulator_bias(np.broadcast_to(bias.reshape(-1), (count,)), unit, source.grid)
    factors = unit if cone.grid is None else unit / cone.grid.scale
    return source, weights.integers, integers, factors


def accumulator_bias(bias: Array, unit: Array, grid: Grid) -> Array:
    """Returns real biases as int64 in the accumulator's unit.

    Args:
        bias: [O].
        unit: What one of the accumulator stands for, [O].
        grid: The activation's; it decides how wide the accumulator is.

    Raises:
        Unfit: A bias does not fit the accumulator.
    """
    integers: Array = np.rint(bias / unit)
    # Not "any is too large": a bias that is no number has to be found as well.
    if not np.all(np.abs(integers) < _MAX_BIAS[grid.dtype]):
        raise Unfit("its bias does not fit the accumulator")
    return integers.astype(np.int64)
