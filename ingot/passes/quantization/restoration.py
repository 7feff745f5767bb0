"""Taking the quantization of chosen layers back."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from ingot.passes.fusion.matching import producer
from ingot.passes.fusion.rewriting import Names, add_initializer
from ingot.passes.quantization.quantized_layer import QuantizedLayer, quantized_layers


def restore_float(model: ir.Model, float_model: ir.Model, layers: Collection[str]) -> ir.Model:
    """A copy of a QDQ model in which some layers compute in float again.

    Such a layer reads the value that was quantized, its own float weights and its float bias. Other
    readers of its activation still read the integers.

    Args:
        model: The QDQ model; not changed.
        float_model: The model before it was quantized.
        layers: Names of the layers' nodes.
    """
    copy = model.clone()
    names = Names(copy)
    wanted = frozenset(layers)
    for layer in list(quantized_layers(copy, float_model)):
        if layer.node.name in wanted:
            _restore(copy.graph, layer, names)
    _remove_unread(copy.graph)
    return copy


def _restore(graph: ir.Graph, layer: QuantizedLayer, names: Names) -> None:
    quantize = producer(layer.activation.inputs[0], "QuantizeLinear")
    if quantize is not None:
        layer.node.replace_input_with(0, quantize.inputs[0])
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
