"""What lies between integers and integers in a QDQ graph: the unit that a rule lowers.

A cone ends in a QuantizeLinear (or, for a layer whose result stays float, in the layer itself) and
reaches back through float operators to the DequantizeLinear operators and constants that feed it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]

_DTYPES = {ir.DataType.INT8: "int8", ir.DataType.INT16: "int16"}


class Unfit(Exception):  # noqa: N818 - a reason, not an error
    """Why something is not for the NPU."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """What integers of a tensor stand for: ``(integer - zero_point) * scale``.

    Attributes:
        scale: A float32 number.
        zero_point: An integer of the tensor's type.
        dtype: ``int8`` or ``int16``.
    """

    scale: float
    zero_point: int
    dtype: str

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def quantize(self, value: float) -> int:
        """Returns the integer nearest to a real number, as QuantizeLinear has it."""
        low, high = self.limits
        if not np.isfinite(value):
            return high if value > 0 else low
        rounded = round(float(np.float32(value) / np.float32(self.scale)))  # ties to even
        return min(max(rounded + self.zero_point, low), high)


@dataclasses.dataclass(frozen=True)
class Source:
    """An activation that a cone reads: integers of the graph, and what they stand for."""

    integers: ir.Value
    grid: Grid


@dataclasses.dataclass(frozen=True)
class QuantizedConstant:
    """A constant behind a DequantizeLinear.

    Attributes:
        integers: As they are stored; zero points are zero.
        scales: float64, one, or one for each index of ``axis``.
        axis: The axis of the scales.
    """

    integers: Array
    scales: Array
    axis: int


@dataclasses.dataclass(frozen=True)
class Cone:
    """The float operators between integers.

    Attributes:
        root: The float value at the end.
        nodes: The float operators in order, the last one producing ``root``.
        output: The integers at the end; ``root`` itself where it stays float.
        grid: The grid of the output; None where it stays float.
    """

    root: ir.Value
    nodes: tuple[ir.Node, ...]
    output: ir.Value
    grid: Grid | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return static_shape(self.root)

    @property
    def sources(self) -> list[Source]:
        """The activations that are read, each once, in order."""
        found: dict[tuple[ir.Value, Grid], Source] = {}
        values = [self.root] if not self.nodes else [v for n in self.nodes for v in n.inputs if v]
        for value in values:
            source = activation(value)
            if source is not None:
                found.setdefault((source.integers, source.grid), source)
        return list(found.values())

    @property
    def all_nodes(self) -> list[ir.Node]:
        """The float operators with the QuantizeLinear and DequantizeLinear around them."""
        before = {
            value.producer(): None
            for value in [self.root, *(v for node in self.nodes for v in node.inputs)]
            if value is not None and is_dequantize(value.producer())
        }
        behind = [] if self.output is self.root else [self.output.producer()]
        return [node for node in (*before, *self.nodes, *behind) if node is not None]

    @functools.cached_property
    def bounds(self) -> tuple[float, float]:
        """What Relu and Clip at the end keep the result between."""
        return self._trail[1]

    @property
    def body(self) -> tuple[ir.Node, ...]:
        """The operators without Relu and Clip at the end."""
        return self.nodes[: len(self.nodes) - self._trail[0]]

    @functools.cached_property
    def _trail(self) -> tuple[int, tuple[float, float]]:
        low, high = -np.inf, np.inf
        count = 0
        value = self.root
        while (node := value.producer()) is not None and node in self.nodes:
            found = clip_bounds(node)
            if found is None or node.inputs[0] is None:
                break
            # The bounds behind hold over these: clip(clip(x, a, b), low, high).
            low, high = (min(max(bound, low), high) for bound in found)
            count += 1
            value = node.inputs[0]
        return count, (float(low), float(high))

    def only(self) -> ir.Node:
        """Returns the single operator of the body.

        Raises:
            Unfit: There are more, or none.
        """
        if len(self.body) != 1:
            kinds = "+".join(node.op_type for node in self.nodes) or "nothing"
            raise Unfit(f"no rule for {kinds} between integers")
        return self.body[0]

    def integer_bounds(self) -> tuple[int, int]:
        """Returns the bounds in integers of the output.

        Raises:
            Unfit: The output is float.
        """
        grid = self.require_grid()
        low, high = self.bounds
        return grid.quantize(low), grid.quantize(high)

    def require_grid(self) -> Grid:
        """Returns the output's grid.

        Raises:
            Unfit: The output is float.
        """
        if self.grid is None:
            raise Unfit("its result stays float")
        return self.grid


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Returns the bounds that a Relu or a Clip with constant bounds puts; None for others."""
    if node.domain != "":
        return None
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    bounds = [-np.inf, np.inf]
    for index, value in enumerate(node.inputs[1:3]):
        if value is not None:
            array = constant(value)
            if array is None or array.size != 1:
                return None
            bounds[index] = float(array.reshape(()))
    return bounds[0], bounds[1]


def constant(value: ir.Value | None) -> Array | None:
    """Returns the array of an initializer or a Constant; None for anything else."""
    if value is None:
        return None
    if value.const_value is not None and (value.is_initializer() or value.producer() is not None):
        return np.asarray(value.const_value.numpy())
    node = value.producer()
    if node is not None and node.op_type == "Constant" and "value" in node.attributes:
        return np.asarray(node.attributes["value"].as_tensor().numpy())
    return None


def is_dequantize(node: ir.Node | None) -> bool:
    """Whether a node is ONNX's DequantizeLinear."""
    return node is not None and node.domain == "" and node.op_type == "DequantizeLinear"


def is_quantize(node: ir.Node | None) -> bool:
    """Whether a node is ONNX's QuantizeLinear."""
    return node is not None and node.domain == "" and node.op_type == "QuantizeLinear"


def grid_of(node: ir.Node) -> Grid | None:
    """Returns the grid of a QuantizeLinear or DequantizeLinear; None where the NPU has none such.

    It has int8 with any zero point and int16 about zero, one scale per tensor.
    """
    scale = constant(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    zero = np.zeros((), np.uint8) if given is None else constant(given)
    integers = node.inputs[0] if is_dequantize(node) else node.outputs[0]
    if given is None and is_dequantize(node) and integers is not None:
        dtype = None if integers.dtype is None else _DTYPES.get(integers.dtype)
        zero = None if dtype is None else np.zeros((), dtype)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    if zero.dtype.name not in _DTYPES.values() or float(scale.reshape(())) <= 0:
        return None
    grid = Grid(float(scale.reshape(())), int(zero.reshape(())), zero.dtype.name)
    return None if grid.dtype == "int16" and grid.zero_point else grid


def activation(value: ir.Value | None) -> Source | None:
    """Returns the integers that a float value stands for, where it is a dequantized activation."""
    node = None if value is None else value.producer()
    if node is None or not is_dequantize(node):
        return None
    integers = node.inputs[0]
    if integers is None or constant(integers) is not None:
        return None
    grid = grid_of(node)
    return None if grid is None else Source(integers, grid)


def quantized_constant(value: ir.Value | None) -> QuantizedConstant | None:
    """Returns the integers behind a float constant; None where there are none, or not symmetric."""
    node = None if value is None else value.producer()
    if node is None or not is_dequantize(node):
        return None
    integers, scales = constant(node.inputs[0]), constant(node.inputs[1])
    zeros = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if integers is None or scales is None or (zeros is not None and np.any(zeros)):
        return None
    axis = node.attributes.get_int("axis", 1) or 0
    return QuantizedConstant(integers, scales.astype(np.float64).reshape(-1), axis)


def real_constant(value: ir.Value | None) -> Array | None:
    """Returns what a constant stands for in float64, quantized or not."""
    quantized = quantized_constant(value)
    if quantized is None:
        array = constant(value)
        return None if array is None else np.asarray(array, np.float64)
    shape = [1] * quantized.integers.ndim
    if quantized.scales.size > 1:
        shape[quantized.axis] = -1
    return np.asarray(quantized.integers * quantized.scales.reshape(shape))


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """Returns a value's shape.

    Raises:
        Unfit: It is not static.
    """
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise Unfit(f"the shape of {value.name} is not static")
    return tuple(int(size) for size in value.shape if isinstance(size, int))


def cone_of(root: ir.Value, output: ir.Value, grid: Grid | None, last: ir.Node | None) -> Cone:
    """Returns the cone that ends in a float value.

    Args:
        root: The float value.
        output: The integers made of it, or itself.
        grid: The grid of the output.
        last: The reader of ``root`` that does not count, which is the QuantizeLinear.

    Raises:
        Unfit: A value within it is read from outside too, or it does not begin in integers.
    """
    nodes: dict[ir.Node, None] = {}
    _collect(root, nodes)
    inner = {root, *(value for node in nodes for value in node.inputs if value is not None)}
    for value in inner:
        if value is output or value.producer() not in nodes:
            continue
        outside = [use.node for use in value.uses() if use.node not in nodes]
        if any(reader is not last for reader in outside) or value.is_graph_output():
            raise Unfit(f"{value.name} is needed in float outside of the NPU")
    return Cone(root, tuple(nodes), output, grid)


def _collect(value: ir.Value, nodes: dict[ir.Node, None]) -> None:
    """Collects the float operators behind a value in an order of computation."""
    node = value.producer()
    if constant(value) is not None or is_dequantize(node):
        if activation(value) is None and real_constant(value) is None:
            raise Unfit(f"{value.name} is not on a grid that the NPU has")
        return
    if node is None or node.domain != "":
        raise Unfit(f"{value.name} is not integer")
    if node in nodes:
        return
    if node.op_type in ("If", "Loop", "Scan") or is_quantize(node):
        raise Unfit(f"{value.name} is not integer")
    for operand in node.inputs:
        if operand is not None:
            _collect(operand, nodes)
    nodes[node] = None
