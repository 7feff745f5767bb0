"""Dynamic quantization: int8 weights, and activations quantized when the model runs.

``DynamicQuantizeLinear`` finds the range of each activation anew for each inference, so that no
calibration is needed; ``MatMulInteger`` and ``ConvInteger`` multiply, and the product of both
scales makes the sums real again. Best for products with few rows, where finding the range costs
little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pydantic

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.onnx_graph.matching import rank
from ingot.passes.base import LOSSY, Declined, IngotPass, PassOptions, PassOutcome, Tolerance
from ingot.passes.quantization.grid import round_to_grid, weight_scales
from ingot.passes.quantization.linear import LinearLayer, linear_layers

# int8 weights are stored 128 higher, as uint8: ONNX Runtime's product of uint8 with int8 saturates
# at 16 bits on machines with AVX2 alone, its product of uint8 with uint8 is exact everywhere.
_WEIGHT_ZERO = 128


class QuantizeDynamicOptions(PassOptions):
    """Options of ``quantization.dynamic``."""

    operators: tuple[str, ...] = pydantic.Field(
        default=("MatMul", "Gemm"), description="which layers: MatMul, Gemm, Conv"
    )


class QuantizeDynamic(IngotPass[QuantizeDynamicOptions]):
    """Layers as integer products of weights in int8 and activations quantized as they come."""

    name: ClassVar[str] = "quantization.dynamic"
    summary: ClassVar[str] = "Quantize activations while the model runs; needs no calibration."
    options_type: ClassVar[type[PassOptions]] = QuantizeDynamicOptions
    tolerance: ClassVar[Tolerance] = LOSSY
    by_name_only: ClassVar[bool] = True

    def call(self, model: ir.Model) -> PassOutcome:
        """Quantizes the main graph's layers."""
        names = Names(model)
        writer = _Writer(model.graph, names)
        applied, declined = 0, []
        for layer in list(linear_layers(model.graph)):
            if layer.node.op_type not in self.options.operators:
                continue
            if layer.bias is not None and rank(layer.bias) is None:
                declined.append(Declined(str(layer.node.name), "its bias has no known shape"))
                continue
            writer.replace(layer)
            applied += 1
        return PassOutcome(model, applied > 0, applied, declined)


class _Writer:
    def __init__(self, graph: ir.Graph, names: Names) -> None:
        self._graph = graph
        self._names = names
        self._zero: ir.Value | None = None
        self._quantized: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]] = {}

    def replace(self, layer: LinearLayer) -> None:
        """Replaces a layer by integer arithmetic; its output keeps its name."""
        node, is_conv = layer.node, layer.node.op_type == "Conv"
        integers, scales, bias = self._constants(layer)
        activation, scale, zero_point = self._quantize(layer)
        attributes: Sequence[ir.Attr] = list(node.attributes.values()) if is_conv else ()
        sums = self._node(
            node, "ConvInteger" if is_conv else "MatMulInteger",
            [activation, integers, zero_point, self._weight_zero()], ir.DataType.INT32, attributes,
        )  # fmt: skip
        real = self._node(
            node, "Cast", [sums], ir.DataType.FLOAT,
            ir.convenience.convert_attributes({"to": int(ir.DataType.FLOAT)}),
        )  # fmt: skip
        factors = self._node(node, "Mul", [scale, scales], ir.DataType.FLOAT)
        result = self._node(node, "Mul", [real, factors], ir.DataType.FLOAT)
        if bias is not None:
            result = self._node(node, "Add", [result, bias], ir.DataType.FLOAT)
        self._take_over(layer, result)

    def _constants(self, layer: LinearLayer) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        name, array = str(layer.weights.name), layer.array()
        rows = layer.to_rows(array)
        scales = weight_scales(rows)
        shifted = round_to_grid(rows, scales).astype(np.int16) + _WEIGHT_ZERO
        stored = layer.from_rows(shifted.astype(np.uint8))
        shape: tuple[int, ...] = (-1,)
        if layer.node.op_type == "Conv":
            shape = (1, -1, *(1,) * (array.ndim - 2))
        elif layer.channel_axis == 0:
            stored = np.ascontiguousarray(stored.T)  # MatMulInteger has no transposition
        bias = layer.bias
        if bias is not None and layer.node.op_type == "Conv":
            shape_of_bias = add_initializer(
                self._graph, self._names, f"{bias.name}_shape", np.array(shape, np.int64)
            )
            bias = self._node(layer.node, "Reshape", [bias, shape_of_bias], ir.DataType.FLOAT)
        return (
            add_initializer(self._graph, self._names, f"{name}_quantized", stored),
            add_initializer(self._graph, self._names, f"{name}_scale", scales.reshape(shape)),
            bias,
        )

    def _weight_zero(self) -> ir.Value:
        if self._zero is None:
            array = np.array(_WEIGHT_ZERO, np.uint8)
            self._zero = add_initializer(self._graph, self._names, "weight_zero_point", array)
        return self._zero

    def _quantize(self, layer: LinearLayer) -> tuple[ir.Value, ir.Value, ir.Value]:
        value = layer.activation
        if value not in self._quantized:
            outputs = [
                ir.Value(
                    name=self._names.fresh(f"{value.name}_dynamic_{part}"),
                    type=ir.TensorType(dtype),
                    shape=shape,
                )
                for part, dtype, shape in (
                    ("quantized", ir.DataType.UINT8, value.shape),
                    ("scale", ir.DataType.FLOAT, ir.Shape(())),
                    ("zero_point", ir.DataType.UINT8, ir.Shape(())),
                )
            ]
            node = ir.Node(
                "",
                "DynamicQuantizeLinear",
                [value],
                outputs=outputs,
                name=self._names.fresh(f"{value.name}/DynamicQuantizeLinear"),
            )
            self._graph.insert_before(layer.node, node)
            self._quantized[value] = (outputs[0], outputs[1], outputs[2])
        return self._quantized[value]

    def _node(
        self,
        anchor: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value],
        dtype: ir.DataType,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        name = self._names.fresh(f"{anchor.name}/{op_type}")
        output = ir.Value(name=self._names.fresh(f"{name}_output"), type=ir.TensorType(dtype))
        node = ir.Node("", op_type, inputs, attributes, outputs=[output], name=name)
        self._graph.insert_before(anchor, node)
        return output

    def _take_over(self, layer: LinearLayer, result: ir.Value) -> None:
        old, weights = layer.output, layer.weights
        name, result.shape = old.name, old.shape
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        self._graph.remove(layer.node, safe=True)
        result.name = name
        if weights.is_initializer() and not weights.uses() and not weights.is_graph_output():
            self._graph.initializers.pop(str(weights.name))
