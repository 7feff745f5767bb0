"""Insertion of QuantizeLinear and DequantizeLinear: from a float graph to standard QDQ ONNX.

Activations get one grid per tensor from calibration, weights a symmetric one per output channel,
biases the accumulator's grid (Jacob et al. 2018; Nagel et al., "A White Paper on Neural Network
Quantization", 2021, sections 2 and 3). What is inserted is arithmetic in float between integers,
so any ONNX runtime computes it, and a target that recognizes it computes it in integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.arithmetic import IntegerProfile
from ingot.calibration.ranges import Range, choose_range, range_method
from ingot.errors import UsageError
from ingot.onnx_graph.edits import Names, add_initializer
from ingot.passes.base import Declined, PassOptions, PassOutcome
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.grid import (
    Grid,
    activation_grid,
    bias_integers,
    round_to_grid,
    weight_scales,
    widen_for_bias,
)
from ingot.passes.quantization.headroom import Headroom, Sums
from ingot.passes.quantization.linear import (
    LINEAR_OPERATORS,
    LinearLayer,
    linear_layer,
    linear_layers,
    why_not_linear,
)
from ingot.passes.quantization.placement import Placement, place, why_float

# By the bits of activations: DequantizeLinear has an axis, and 16-bit integers, since then.
MINIMUM_OPSET = {8: 13, 16: 21}

# Where later passes of the group find the float graph, for the means and weights they restore.
FLOAT_MODEL = "ingot.quantization.float_model"
# What the target computes in integers.
PROFILE = "ingot.quantization.profile"
# How many weights the target adds in 16 bits, which they have to heed as well.
WEIGHT_SUMS = "ingot.quantization.weight_sums"


class InsertQdqOptions(PassOptions):
    """Options of ``quantization.qdq``."""

    range_method: str = pydantic.Field(
        default="min_max", description="how an activation's range is chosen"
    )
    symmetric: bool = pydantic.Field(
        default=False, description="activations in int8 about zero, rather than with a zero point"
    )
    activation_bits: Literal[8, 16] = pydantic.Field(
        default=8,
        description="width of activations; with 16, about zero, weights stay in int8 (npu only)",
    )
    weight_sums: Sums = pydantic.Field(
        default=1, description="weights that the target adds in 16 bits; 1 where it is exact anyway"
    )
    dense_scales: Literal["row", "layer"] = pydantic.Field(
        default="row",
        description="scales of a matrix product's weights: one per output, or one for all of them, "
        "which is less exact and lets weights be compressed",
    )
    keep_float: tuple[str, ...] = pydantic.Field(
        default=(), description="names of layers that stay float"
    )

    @pydantic.field_validator("range_method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        try:
            range_method(method)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return method


class InsertQdq(CalibratedPass[InsertQdqOptions]):
    """QuantizeLinear and DequantizeLinear around what the profile computes in integers."""

    name: ClassVar[str] = "quantization.qdq"
    summary: ClassVar[str] = "Quantize weights and activations to integers, as standard QDQ ONNX."
    options_type: ClassVar[type[PassOptions]] = InsertQdqOptions

    def call(self, model: ir.Model) -> PassOutcome:
        """Quantizes the main graph."""
        bits = self.options.activation_bits
        _require_opset(model, bits)
        _require_known_layers(model.graph, self.options.keep_float)
        profile = self.arithmetic.integers
        if bits not in profile.activation_bits:
            raise UsageError(
                f"the target computes with activations of 8 bits, not of {bits}: "
                "leave activation_bits out, or compile for an NPU"
            )
        symmetric = self.options.symmetric or bits == 16
        placement = place(model.graph, profile, self.options.keep_float)
        declined = list(self._declined(model.graph, profile))
        float_model = model.clone()
        model.graph.meta[FLOAT_MODEL] = float_model
        model.graph.meta[PROFILE] = profile
        model.graph.meta[WEIGHT_SUMS] = self.options.weight_sums
        if not placement.layers:
            self.calibration.note(_nothing_quantized(declined))
            return PassOutcome(model, False, 0, declined)
        ranges = self._ranges(model, placement, symmetric)
        grids = {
            value: activation_grid(
                ranges[root].low,
                ranges[root].high,
                signed=profile.signed,
                symmetric=symmetric,
                bits=bits,
            )
            for value, root in placement.grids.items()
        }
        insert(
            model.graph, placement, grids, Names(model),
            weight_sums=self.options.weight_sums, dense_scales=self.options.dense_scales,
        )  # fmt: skip
        return PassOutcome(model, True, len(placement.layers), declined)

    def _declined(self, graph: ir.Graph, profile: IntegerProfile) -> Iterator[Declined]:
        for node in graph:
            if node.domain != "" or node.op_type not in LINEAR_OPERATORS:
                continue
            layer, name = linear_layer(node), node.name or ""
            if layer is None:
                reason = why_not_linear(node)
            elif name in self.options.keep_float:
                reason = "it is kept in float"
            else:
                reason = why_float(layer, profile)
            if reason is not None:
                yield Declined(name, reason)

    def _ranges(
        self, model: ir.Model, placement: Placement, symmetric: bool
    ) -> Mapping[ir.Value, Range]:
        """The range of each grid: what all of its members need."""
        names = [str(value.name) for value in placement.values]
        method = range_method(self.options.range_method)
        statistics = self.calibration.statistics(model, names, histograms=method.uses_histogram)
        chosen = {
            value: choose_range(
                statistics[str(value.name)],
                method,
                symmetric=symmetric,
                bits=self.options.activation_bits,
            )
            for value in placement.values
        }
        return {
            root: Range(
                min(chosen[value].low for value in placement.members(root)),
                max(chosen[value].high for value in placement.members(root)),
            )
            for root in set(placement.grids.values())
        }


def insert(
    graph: ir.Graph,
    placement: Placement,
    grids: Mapping[ir.Value, Grid],
    names: Names,
    *,
    weight_sums: Sums = 1,
    dense_scales: Literal["row", "layer"] = "row",
) -> None:
    """Inserts the operators that a placement asks for, in place.

    Args:
        graph: The float graph.
        placement: Where.
        grids: The grid of each quantized value.
        names: The model's names.
        weight_sums: Weights that the target adds in 16 bits; see :class:`Headroom`.
        dense_scales: Whether each output of a matrix product has a scale, or all share one.
    """
    inserter = _Inserter(graph, names)
    readers: dict[ir.Value, list[tuple[ir.Node, int]]] = {value: [] for value in placement.values}
    for node, position in placement.edges:
        value = node.inputs[position]
        assert value is not None
        readers[value].append((node, position))
    for value in placement.values:
        inserter.quantize(value, grids[value], readers[value])
    for layer in placement.layers:
        shared = dense_scales == "layer" and layer.node.op_type != "Conv"
        inserter.quantize_weights(layer, Headroom.of(layer, weight_sums), shared)


class _Inserter:
    def __init__(self, graph: ir.Graph, names: Names) -> None:
        self._graph = graph
        self._names = names
        self._grid_of: dict[ir.Node, Grid] = {}

    def quantize(self, value: ir.Value, grid: Grid, readers: Sequence[tuple[ir.Node, int]]) -> None:
        """One QuantizeLinear behind the value, and a DequantizeLinear for each reader."""
        name = str(value.name)
        scale = add_initializer(
            self._graph, self._names, f"{name}_scale", np.array(grid.scale, np.float32)
        )
        zero_point = add_initializer(
            self._graph, self._names, f"{name}_zero_point", np.array(grid.zero_point, grid.dtype)
        )
        quantize, quantized = self._node(
            "QuantizeLinear", name, [value, scale, zero_point], zero_point.dtype, value.shape
        )
        producer = value.producer()
        if producer is None:
            first = next(iter(self._graph))
            self._graph.insert_before(first, quantize)
        else:
            self._graph.insert_after(producer, quantize)
        for node, position in readers:
            dequantize, real = self._node(
                "DequantizeLinear", name, [quantized, scale, zero_point], value.dtype, value.shape
            )
            self._graph.insert_before(node, dequantize)
            node.replace_input_with(position, real)
            if position == 0:
                self._grid_of[node] = grid

    def quantize_weights(self, layer: LinearLayer, headroom: Headroom | None, shared: bool) -> None:
        """Integer weights, of one scale if ``shared``, and an integer bias, both dequantized."""
        node = layer.node
        input_scale = self._grid_of[node].scale
        rows = layer.to_rows(layer.array())
        scales = weight_scales(rows, headroom)
        bias = layer.constant_bias()
        if bias is not None:
            scales = widen_for_bias(scales, float(input_scale), bias)
        if shared:
            scales = np.full_like(scales, scales.max())
        integers = layer.from_rows(round_to_grid(rows, scales))
        self._replace_constant(node, 1, integers, scales, layer.channel_axis)
        if bias is not None:
            accumulator = (input_scale * scales).astype(np.float32)
            self._replace_constant(node, 2, bias_integers(bias, accumulator), accumulator, 0)

    def _replace_constant(
        self,
        node: ir.Node,
        position: int,
        integers: npt.NDArray[Any],
        scales: npt.NDArray[Any],
        axis: int,
    ) -> None:
        old = node.inputs[position]
        assert old is not None
        name = str(old.name)
        inputs = [
            self._initializer(f"{name}_quantized", integers),
            self._initializer(f"{name}_scale", scales),
        ]
        if integers.dtype == np.int8:
            zeros = np.zeros(scales.shape, np.int8)
            inputs.append(self._initializer(f"{name}_zero_point", zeros))
        dequantize, real = self._node(
            "DequantizeLinear", name, inputs, ir.DataType.FLOAT, old.shape, {"axis": axis}
        )
        self._graph.insert_before(node, dequantize)
        node.replace_input_with(position, real)
        if old.is_initializer() and not old.uses() and not old.is_graph_output():
            self._graph.initializers.pop(name)

    def _initializer(self, wanted: str, array: npt.NDArray[Any]) -> ir.Value:
        return add_initializer(self._graph, self._names, wanted, array)

    def _node(
        self,
        op_type: str,
        value: str,
        inputs: Sequence[ir.Value],
        dtype: ir.DataType | None,
        shape: ir.Shape | None,
        attributes: Mapping[str, int] | None = None,
    ) -> tuple[ir.Node, ir.Value]:
        suffix = "quantized" if op_type == "QuantizeLinear" else "dequantized"
        output = ir.Value(
            name=self._names.fresh(f"{value}_{suffix}"),
            type=None if dtype is None else ir.TensorType(dtype),
            shape=shape,
        )
        node = ir.Node(
            "",
            op_type,
            inputs,
            ir.convenience.convert_attributes(dict(attributes or {})),
            outputs=[output],
            name=self._names.fresh(f"{value}/{op_type}"),
        )
        return node, output


def _nothing_quantized(declined: Sequence[Declined]) -> str:
    if not declined:
        return "nothing is quantized: the model has no Conv, Gemm or MatMul"
    first = declined[0]
    others = f", and {len(declined) - 1} others" if len(declined) > 1 else ""
    return f"nothing is quantized: '{first.node}'{others} stays float, as {first.reason}"


def _require_opset(model: ir.Model, bits: Literal[8, 16]) -> None:
    opset = model.opset_imports.get("", 1)
    if opset < MINIMUM_OPSET[bits]:
        raise UsageError(
            f"quantization to {bits} bits needs opset {MINIMUM_OPSET[bits]}, the model has "
            f"{opset}: convert it first"
        )


def _require_known_layers(graph: ir.Graph, names: Sequence[str]) -> None:
    known = {layer.node.name for layer in linear_layers(graph)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"keep_float names '{unknown[0]}', and the model has no such layer with weights"
        )
