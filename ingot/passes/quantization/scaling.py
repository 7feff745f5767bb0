"""Factors per channel, moved between a graph's constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.passes.quantization.linear import LinearLayer

Wide = npt.NDArray[np.float64]


def scale_outputs(graph: ir.Graph, layer: LinearLayer, factors: Wide, names: Names) -> None:
    """Multiplies a layer's output channels: its weights and its constant bias.

    Args:
        graph: The layer's graph.
        layer: The layer.
        factors: [output channels].
        names: The model's names.
    """
    weights = layer.array().astype(np.float64) * layer.per_channel(factors)
    replace_constant(graph, layer.node, 1, weights, names)
    bias = layer.constant_bias()
    if bias is not None:
        replace_constant(graph, layer.node, 2, bias * factors, names)


def scale_inputs(graph: ir.Graph, layer: LinearLayer, factors: Wide, names: Names) -> None:
    """Multiplies the weights that read each input channel.

    Args:
        graph: The layer's graph.
        layer: The layer.
        factors: [input channels].
        names: The model's names.
    """
    array = layer.array().astype(np.float64)
    if layer.node.op_type == "Conv":
        shape = array.shape
        grouped = array.reshape(layer.groups, -1, *shape[1:])
        spread = factors.reshape(layer.groups, 1, shape[1], *(1,) * (len(shape) - 2))
        scaled = (grouped * spread).reshape(shape)
    else:
        spread_shape = [1, 1]
        spread_shape[1 - layer.channel_axis] = -1
        scaled = array * factors.reshape(spread_shape)
    replace_constant(graph, layer.node, 1, scaled, names)


def insert_product(
    graph: ir.Graph,
    value: ir.Value,
    vector: Wide,
    readers: Sequence[tuple[ir.Node, int]],
    names: Names,
) -> None:
    """Multiplies a value by a constant for some of its readers.

    Args:
        graph: The value's graph.
        value: What is multiplied.
        vector: The constant, of a shape that broadcasts against the value.
        readers: (node, input position) of those that get the product.
        names: The model's names.
    """
    producer = value.producer()
    assert producer is not None
    constant_vector = add_initializer(
        graph, names, f"{value.name}_factors", vector.astype(np.float32)
    )
    scaled = ir.Value(name=names.fresh(f"{value.name}_scaled"), type=value.type, shape=value.shape)
    node = ir.Node(
        "", "Mul", [value, constant_vector], outputs=[scaled], name=names.fresh(f"{value.name}/Mul")
    )
    graph.insert_after(producer, node)
    for reader, position in readers:
        reader.replace_input_with(position, scaled)


def replace_constant(
    graph: ir.Graph, node: ir.Node, position: int, array: npt.NDArray[np.float64], names: Names
) -> None:
    """Gives a node another constant; the old one goes when nothing else reads it."""
    old = node.inputs[position]
    assert old is not None
    new = add_initializer(graph, names, f"{old.name}_equalized", array.astype(np.float32))
    node.replace_input_with(position, new)
    if old.is_initializer() and not old.uses() and not old.is_graph_output():
        graph.initializers.pop(str(old.name))
