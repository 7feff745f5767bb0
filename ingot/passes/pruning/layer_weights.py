"""New weights and biases for a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.passes.quantization.linear import LinearLayer

Array = npt.NDArray[Any]


def has_own_weights(layer: LinearLayer) -> bool:
    """Whether nothing else reads the weights or the bias."""
    values = [layer.weights] + ([] if layer.bias is None else [layer.bias])
    if layer.bias is not None and layer.constant_bias() is None:
        return False
    return all(len(value.uses()) == 1 and value.is_initializer() for value in values)


def replace_weights(layer: LinearLayer, weights: Array) -> None:
    """Gives a layer weights of the same shape."""
    _replace(layer.weights, weights)


def shift_bias(layer: LinearLayer, shift: Array, names: Names) -> None:
    """Adds to the bias of a Conv or Gemm; makes one where there is none.

    Args:
        layer: The layer.
        shift: [channels].
        names: The model's names.
    """
    bias = layer.constant_bias()
    if layer.bias is not None and bias is not None:
        _replace(layer.bias, bias + shift)
        layer.bias.shape = ir.Shape(shift.shape)
        return
    graph = layer.node.graph
    assert isinstance(graph, ir.Graph)
    value = add_initializer(graph, names, f"{layer.node.name}.bias", shift.astype(np.float32))
    layer.node.resize_inputs(3)
    layer.node.replace_input_with(2, value)


def _replace(value: ir.Value, array: Array) -> None:
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=value.name)


def holds_bias(layer: LinearLayer) -> bool:
    """Whether a layer has a bias, or can be given one: a MatMul cannot."""
    return layer.node.op_type in ("Conv", "Gemm")
