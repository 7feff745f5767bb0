"""Layers of a QDQ graph: their integers, scales and biases, to be read and replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import constant, constant_tensor, producer
from ingot.passes.quantization.grid import bias_integers
from ingot.passes.quantization.linear import LinearLayer, linear_layers

FloatArray = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class QuantizedLayer:
    """A layer with integer weights and an integer activation, and the float layer it was.

    Attributes:
        node: The operator in the QDQ graph.
        layer: The layer of the float graph.
        activation: The DequantizeLinear of its activation.
        dequantize: The DequantizeLinear of its weights.
    """

    node: ir.Node
    layer: LinearLayer
    activation: ir.Node
    dequantize: ir.Node

    @property
    def integers(self) -> ir.Value:
        """The initializer with the weights' integers."""
        value = self.dequantize.inputs[0]
        assert value is not None
        return value

    @property
    def scales(self) -> FloatArray:
        """The weights' scales, [channels]."""
        return _array(self.dequantize.inputs[1])

    @property
    def input_scale(self) -> float:
        """The activation's scale."""
        return float(_array(self.activation.inputs[1]).reshape(()))

    def rows(self) -> npt.NDArray[np.int8]:
        """The weights' integers, one row per output channel."""
        return np.asarray(self.layer.to_rows(_array(self.integers)), np.int8)

    def dequantized(self, values: npt.NDArray[Any]) -> FloatArray:
        """What integers of the activation stand for."""
        zero_point = _array(self.activation.inputs[2]).astype(np.int32)
        return np.asarray((values - zero_point) * np.float32(self.input_scale), np.float32)

    def replace_weights(self, rows: npt.NDArray[np.int8], scales: FloatArray) -> None:
        """Puts other integers and scales in place; the bias is not touched."""
        _replace(self.integers, self.layer.from_rows(rows))
        scale = self.dequantize.inputs[1]
        assert scale is not None
        _replace(scale, scales.astype(np.float32))

    def bias(self) -> npt.NDArray[np.float64]:
        """The bias in real numbers, [channels]; zeros where there is none."""
        place = self._bias_place()
        if place is None:
            return np.zeros(len(self.scales))
        node, position = place
        dequantize = producer(node.inputs[position], "DequantizeLinear")
        if dequantize is None:
            found = constant(node.inputs[position])
            assert found is not None
            return np.array(np.broadcast_to(found.reshape(-1), self.scales.shape), np.float64)
        integers = _array(dequantize.inputs[0]).astype(np.float64)
        return np.asarray(integers * _array(dequantize.inputs[1]), np.float64)

    def float_bias(self) -> npt.NDArray[np.float64]:
        """The bias that the layer itself had in float, [channels]; zeros where it had none."""
        found = self.layer.constant_bias()
        return np.zeros(len(self.scales)) if found is None else found.astype(np.float64)

    def can_hold_bias(self) -> bool:
        """Whether the graph has a place for a bias."""
        return self._bias_place() is not None or self.node.op_type != "MatMul"

    def replace_bias(self, bias: npt.NDArray[np.float64]) -> None:
        """Puts another bias in place, on the grid of the accumulator.

        A product that adds none, and that has none added behind it, stays without.
        """
        place = self._bias_place()
        if place is None:
            if self.can_hold_bias():
                self._add_bias(bias)
            return
        node, position = place
        dequantize = producer(node.inputs[position], "DequantizeLinear")
        if dequantize is None:
            value = node.inputs[position]
            assert value is not None
            old = _array(value)
            new = np.broadcast_to(bias.astype(np.float32), (*old.shape[:-1], len(bias)))
            _set_input(node, position, new.copy())
            return
        accumulator = (np.float32(self.input_scale) * self.scales).astype(np.float32)
        integers, scale = dequantize.inputs[0], dequantize.inputs[1]
        assert integers is not None and scale is not None
        _replace(integers, bias_integers(bias, accumulator))
        _replace(scale, accumulator)

    def _bias_place(self) -> tuple[ir.Node, int] | None:
        """The node and input that add the bias: the layer itself, or an Add behind a product."""
        if len(self.node.inputs) > 2 and self.node.inputs[2] is not None:
            return self.node, 2
        output = self.node.outputs[0]
        readers = output.consumers()
        if self.node.op_type != "MatMul" or len(readers) != 1 or output.is_graph_output():
            return None
        add = readers[0]
        if add.domain != "" or add.op_type != "Add":
            return None
        for position, value in enumerate(add.inputs):
            tensor = constant_tensor(value)
            if tensor is not None and tuple(tensor.shape)[-1:] == (len(self.scales),):
                return (add, position) if tensor.size == len(self.scales) else None
        return None

    def _add_bias(self, bias: npt.NDArray[np.float64]) -> None:
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        accumulator = (np.float32(self.input_scale) * self.scales).astype(np.float32)
        base = str(self.integers.name).removesuffix("_quantized")
        inputs = []
        for suffix, array in (
            ("bias_quantized", bias_integers(bias, accumulator)),
            ("bias_scale", accumulator),
        ):
            inputs.append(_initializer(graph, f"{base}_{suffix}", array))
        dequantize = ir.Node(
            "",
            "DequantizeLinear",
            inputs,
            ir.convenience.convert_attributes({"axis": 0}),
            name=_fresh(graph, f"{base}_bias/DequantizeLinear"),
        )
        dequantize.outputs[0].name = f"{dequantize.name}_output"
        dequantize.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        dequantize.outputs[0].shape = ir.Shape(bias.shape)
        graph.insert_before(self.node, dequantize)
        self.node.resize_inputs(3)
        self.node.replace_input_with(2, dequantize.outputs[0])


def quantized_layers(model: ir.Model, float_model: ir.Model) -> Iterator[QuantizedLayer]:
    """The layers of a QDQ model that compute in integers, with the float layers of the same names.

    Args:
        model: The QDQ model.
        float_model: The model before it was quantized.
    """
    originals = {layer.node.name: layer for layer in linear_layers(float_model.graph)}
    for node in model.graph:
        if node.name not in originals or len(node.inputs) < 2:
            continue
        activation = producer(node.inputs[0], "DequantizeLinear")
        weights = producer(node.inputs[1], "DequantizeLinear")
        if activation is not None and weights is not None:
            yield QuantizedLayer(node, originals[node.name], activation, weights)


def _array(value: ir.Value | None) -> npt.NDArray[Any]:
    found = constant(value)
    assert found is not None
    return found


def _replace(value: ir.Value, array: npt.NDArray[np.generic]) -> None:
    value.const_value = ir.tensor(array, name=value.name)


def _set_input(node: ir.Node, position: int, array: npt.NDArray[np.generic]) -> None:
    old = node.inputs[position]
    assert old is not None
    if len(old.uses()) == 1 and old.is_initializer():
        _replace(old, array)
        return
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    node.replace_input_with(position, _initializer(graph, f"{old.name}_corrected", array))


def _initializer(graph: ir.Graph, wanted: str, array: npt.NDArray[np.generic]) -> ir.Value:
    name = _fresh(graph, wanted)
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(array.shape),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _fresh(graph: ir.Graph, wanted: str) -> str:
    taken = set(graph.initializers) | {node.name for node in graph}
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name
