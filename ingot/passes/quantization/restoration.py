"""Taking the quantization of chosen layers back."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.onnx_graph.matching import producer
from ingot.passes.quantization.linear import linear_layers
from ingot.passes.quantization.placement import place
from ingot.passes.quantization.qdq import PROFILE
from ingot.passes.quantization.quantized_layer import QuantizedLayer, quantized_layers


def restore_float(model: ir.Model, float_model: ir.Model, layers: Collection[str]) -> ir.Model:
    """A copy of a QDQ model in which some layers compute in float again.

    Such a layer reads the value that was quantized, its own float weights and its float bias. What
    was quantized only for such layers' sake is float again, too: the rule of need that placed the
    integers says what the others still need. They keep their grids and weights.

    Args:
        model: The QDQ model, as :class:`InsertQdq` left it or a later pass of its group; not
            changed.
        float_model: The model before it was quantized.
        layers: Names of the layers' nodes.
    """
    copy = model.clone()
    names = Names(copy)
    wanted = frozenset(layers)
    quantized = list(quantized_layers(copy, float_model))
    restored = [layer for layer in quantized if layer.node.name in wanted]
    integer = {layer.node.name for layer in quantized} - wanted
    _restore_activations(copy.graph, _integer_reads(model, float_model, integer), wanted)
    for layer in restored:
        _restore_weights(copy.graph, layer, names)
    _remove_unread(copy.graph)
    return copy


def _integer_reads(
    model: ir.Model, float_model: ir.Model, integer: Collection[str | None]
) -> frozenset[tuple[str | None, int]]:
    """What reads integers when only certain layers multiply them: names of nodes, and inputs."""
    profile = model.graph.meta[PROFILE]
    excluded = [
        str(layer.node.name)
        for layer in linear_layers(float_model.graph)
        if layer.node.name not in integer
    ]
    edges = place(float_model.graph, profile, excluded).edges
    return frozenset((node.name, position) for node, position in edges)


def _restore_activations(
    graph: ir.Graph, needed: Collection[tuple[str | None, int]], layers: Collection[str]
) -> None:
    for node in graph:
        for position, value in enumerate(node.inputs):
            dequantize = producer(value, "DequantizeLinear")
            if dequantize is None or ((node.name, position) in needed and node.name not in layers):
                continue
            quantize = producer(dequantize.inputs[0], "QuantizeLinear")
            if quantize is not None:
                node.replace_input_with(position, quantize.inputs[0])


def _restore_weights(graph: ir.Graph, layer: QuantizedLayer, names: Names) -> None:
    weights = layer.layer.array()
    name = str(layer.layer.weights.name)
    layer.node.replace_input_with(1, add_initializer(graph, names, f"{name}_float", weights))
    if len(layer.node.inputs) > 2 and layer.node.inputs[2] is not None:
        bias = layer.float_bias().astype("float32")
        layer.node.replace_input_with(2, add_initializer(graph, names, f"{name}_bias", bias))


def _remove_unread(graph: ir.Graph) -> None:
    for node in reversed(graph):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not any(
            value.uses() or value.is_graph_output() for value in node.outputs
        ):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            graph.initializers.pop(name)
