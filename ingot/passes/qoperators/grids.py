"""What the integers of a QOperator stand for, and the nodes that convert them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit, constant, rank
from ingot.passes.fusion.rewriting import Builder

_FLOAT = ir.convenience.convert_attributes({"to": int(ir.DataType.FLOAT)})


@dataclasses.dataclass(frozen=True)
class Grid:
    """Scale and zero point of a tensor, one for all of it or one per index of an axis.

    Attributes:
        scale: float32, a scalar or a vector.
        zero_point: Of the integers' type, of the scale's shape; None for zero.
        axis: The axis that vectors run along; None where there are scalars.
    """

    scale: ir.Value
    zero_point: ir.Value | None
    axis: int | None = None


class GridBuilder:
    """Reads the scales and zero points of a node, and makes what converts its tensors."""

    def __init__(self, builder: Builder) -> None:
        """Takes what the new nodes are made by."""
        self.builder = builder

    def grid(
        self, scale: ir.Value | None, zero_point: ir.Value | None, axis: int | None = None
    ) -> Grid:
        """Returns the grid that two inputs of a node describe.

        Args:
            scale: Of one element, or a vector.
            zero_point: Likewise; None for zero.
            axis: The axis that a vector would run along; None where only one element is possible.

        Raises:
            Unfit: The scale is left out, of unknown shape, or of a shape that is none of these.
        """
        if scale is None:
            raise Unfit("a scale is left out")
        single = _is_single(scale)
        if not single and (axis is None or rank(scale) != 1):
            raise Unfit(f"its scales '{scale.name}' are neither one nor one per channel")
        zeros = zero_point
        if zeros is not None:
            if _is_single(zeros) != single:
                zeros = self._repeated(zeros, scale)
            elif single:
                zeros = self._scalar(zeros)
        real = self._in_float(self._scalar(scale) if single else scale)
        return Grid(real, zeros, None if single else axis)

    def dequantize(self, value: ir.Value | None, grid: Grid) -> ir.Value:
        """Makes a DequantizeLinear.

        Raises:
            Unfit: The tensor is left out.
        """
        if value is None:
            raise Unfit("a tensor is left out")
        return self._convert("DequantizeLinear", value, grid, ir.DataType.FLOAT)

    def quantize(self, value: ir.Value, grid: Grid, dtype: ir.DataType | None) -> ir.Value:
        """Makes a QuantizeLinear.

        Args:
            value: The float tensor.
            grid: Its grid.
            dtype: The integers' type where the grid has no zero point to tell it.

        Raises:
            Unfit: Nothing tells the type.
        """
        if grid.zero_point is None:
            if dtype is None:
                raise Unfit("the type of its result is not known")
            zero = self.builder.initializer("zero_point", np.zeros((), dtype.numpy()))
            grid = dataclasses.replace(grid, zero_point=zero)
        assert grid.zero_point is not None
        return self._convert("QuantizeLinear", value, grid, grid.zero_point.dtype)

    def product(self, *factors: ir.Value | float) -> ir.Value:
        """The product of scales: a constant where all are."""
        arrays = [constant(f) if isinstance(f, ir.Value) else np.float32(f) for f in factors]
        if all(array is not None for array in arrays):
            result = np.ones((), np.float32)
            for array in arrays:
                result = np.asarray(result * np.asarray(array, np.float32), np.float32)
            return self.builder.initializer("scale", result)
        value: ir.Value | None = None
        for factor in factors:
            if not isinstance(factor, ir.Value):
                factor = self.builder.initializer("factor", np.array(factor, np.float32))
            value = factor if value is None else self.builder.node("Mul", [value, factor])
        assert value is not None
        return value

    def _convert(
        self, op_type: str, value: ir.Value, grid: Grid, dtype: ir.DataType | None
    ) -> ir.Value:
        inputs = [value, grid.scale]
        if grid.zero_point is not None:
            inputs.append(grid.zero_point)
        attributes = {} if grid.axis is None else {"axis": grid.axis}
        return self.builder.node(op_type, inputs, attributes, dtype=dtype, shape=value.shape)

    def _scalar(self, value: ir.Value) -> ir.Value:
        if rank(value) == 0:
            return value
        array = constant(value)
        if array is not None:
            return self.builder.initializer(str(value.name), array.reshape(()))
        shape = self.builder.initializer("scalar", np.zeros(0, np.int64))
        return self.builder.node("Reshape", [value, shape], dtype=value.dtype, shape=ir.Shape(()))

    def _in_float(self, scale: ir.Value) -> ir.Value:
        if scale.dtype in (None, ir.DataType.FLOAT):
            return scale
        array = constant(scale)
        if array is not None:
            return self.builder.initializer(str(scale.name), array.astype(np.float32))
        return self.builder.node(
            "Cast", [scale], _FLOAT, dtype=ir.DataType.FLOAT, shape=scale.shape
        )

    def _repeated(self, zero_point: ir.Value, scale: ir.Value) -> ir.Value:
        """One zero point for each of several scales."""
        array, scales = constant(zero_point), constant(scale)
        if array is None or scales is None or array.size != 1:
            raise Unfit("its zero points and scales are of different shapes")
        repeated: npt.NDArray[np.generic] = np.full(scales.shape, array.reshape(()))
        return self.builder.initializer(str(zero_point.name), repeated)


def _is_single(value: ir.Value) -> bool:
    if value.shape is None:
        raise Unfit(f"'{value.name}' has no known shape")
    return all(size == 1 for size in value.shape)
