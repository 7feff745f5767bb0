"""Weight-only quantization: integer weights, float arithmetic.

The weights of matrix products become int8 with a scale per output channel, or int4 with a scale per
group of inputs (ONNX opset 21: DequantizeLinear with ``block_size`` and INT4), which serves models
whose time is that of reading weights. Rounding is to nearest, of int4 with a scale that is searched
for the least squared error.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.passes.base import LOSSY, Declined, IngotPass, PassOptions, PassOutcome, Tolerance
from ingot.passes.quantization.grid import round_to_grid, weight_scales
from ingot.passes.quantization.linear import LinearLayer, linear_layers

BLOCKED_OPSET = 21

_SHRINKS = np.linspace(0.75, 1.0, 11)


class QuantizeWeightsOptions(PassOptions):
    """Options of ``quantization.weight-only``."""

    bits: Literal[4, 8] = pydantic.Field(default=8, description="width of the integers")
    group: int = pydantic.Field(
        default=32, ge=16, description="inputs that share a scale, for 4 bits"
    )
    smallest: int = pydantic.Field(
        default=4096, gt=0, description="elements of the smallest weights that are quantized"
    )


class QuantizeWeights(IngotPass[QuantizeWeightsOptions]):
    """Weights of layers as int8 per output channel, or of matrix products as int4 in groups."""

    name: ClassVar[str] = "quantization.weight-only"
    summary: ClassVar[str] = "Store weights as int8 or grouped int4; arithmetic stays float."
    options_type: ClassVar[type[PassOptions]] = QuantizeWeightsOptions
    tolerance: ClassVar[Tolerance] = LOSSY
    by_name_only: ClassVar[bool] = True

    def call(self, model: ir.Model) -> PassOutcome:
        """Quantizes the weights of the main graph's layers."""
        opset = model.opset_imports.get("", 1)
        names = Names(model)
        applied, declined = 0, []
        for layer in list(linear_layers(model.graph)):
            reason = self._reason_against(layer, opset)
            if reason is not None:
                declined.append(Declined(str(layer.node.name), reason))
                continue
            if self.options.bits == 8:
                _store_per_channel(model.graph, layer, names)
            else:
                _store_in_groups(model.graph, layer, self.options.group, names)
            applied += 1
        return PassOutcome(model, applied > 0, applied, declined)

    def _reason_against(self, layer: LinearLayer, opset: int) -> str | None:
        array = layer.array()
        if array.size < self.options.smallest:
            return f"its {array.size} weights are too few to matter"
        if self.options.bits == 8:
            return None
        if layer.node.op_type == "Conv":
            return "grouped scales are for matrix products"
        if opset < BLOCKED_OPSET:
            return f"grouped scales need opset {BLOCKED_OPSET}, the model has {opset}"
        inputs = array.shape[1 - layer.channel_axis]
        if inputs % self.options.group:
            return f"its {inputs} inputs do not divide into groups of {self.options.group}"
        return None


def _store_per_channel(graph: ir.Graph, layer: LinearLayer, names: Names) -> None:
    rows = layer.to_rows(layer.array())
    scales = weight_scales(rows)
    integers = ir.tensor(layer.from_rows(round_to_grid(rows, scales)))
    _replace(graph, layer, integers, scales, {"axis": layer.channel_axis}, names)


def _store_in_groups(graph: ir.Graph, layer: LinearLayer, size: int, names: Names) -> None:
    rows = layer.to_rows(layer.array())
    channels, inputs = rows.shape
    groups = rows.reshape(-1, size)
    scales = searched_scales(groups, bits=4)
    integers = round_to_grid(groups, scales, bits=4).reshape(channels, inputs)
    axis = 1 - layer.channel_axis
    stored = integers if axis == 1 else np.ascontiguousarray(integers.T)
    spread = scales.reshape(channels, inputs // size)
    tensor = ir.tensor(stored.astype(ml_dtypes.int4), dtype=ir.DataType.INT4)
    _replace(
        graph,
        layer,
        tensor,
        spread if axis == 1 else np.ascontiguousarray(spread.T),
        {"axis": axis, "block_size": size},
        names,
    )


def searched_scales(rows: npt.NDArray[Any], *, bits: int) -> npt.NDArray[np.float32]:
    """Symmetric scales of rows with the least squared rounding error of a few.

    Args:
        rows: [rows, elements].
        bits: Width of the integers.

    Returns:
        float32 [rows]; at most what just holds the largest magnitude.
    """
    widest = weight_scales(rows, bits=bits)
    best, least = widest.copy(), np.full(len(rows), np.inf)
    for shrink in _SHRINKS:
        scales = (widest * np.float32(shrink)).astype(np.float32)
        error = round_to_grid(rows, scales, bits=bits) * scales[:, None] - rows
        squares = (error.astype(np.float64) ** 2).sum(axis=1)
        better = squares < least
        best[better], least[better] = scales[better], squares[better]
    return np.asarray(best, np.float32)


def _replace(
    graph: ir.Graph,
    layer: LinearLayer,
    integers: ir.TensorProtocol,
    scales: npt.NDArray[np.float32],
    attributes: dict[str, int],
    names: Names,
) -> None:
    old, node = layer.weights, layer.node
    name = names.fresh(f"{old.name}_quantized")
    stored = ir.Value(
        name=name,
        type=ir.TensorType(integers.dtype),
        shape=ir.Shape(integers.shape.numpy()),
        const_value=integers,
    )
    graph.register_initializer(stored)
    inputs = [stored, add_initializer(graph, names, f"{old.name}_scale", scales)]
    real = ir.Value(
        name=names.fresh(f"{old.name}_dequantized"),
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=old.shape,
    )
    dequantize = ir.Node(
        "",
        "DequantizeLinear",
        inputs,
        ir.convenience.convert_attributes(attributes),
        outputs=[real],
        name=names.fresh(f"{old.name}/DequantizeLinear"),
    )
    graph.insert_before(node, dequantize)
    node.replace_input_with(1, real)
    if old.is_initializer() and not old.uses() and not old.is_graph_output():
        graph.initializers.pop(str(old.name))
