"""A quantized graph without the rounding of its activations: what its integers approximate."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.edits import Names
from ingot.onnx_graph.matching import constant, constant_tensor, producer


def has_quantized_activations(model: ir.Model) -> bool:
    """Whether values that depend on the inputs are quantized in the main graph."""
    return any(_is_activation(node) for node in model.graph)


def without_rounding(model: ir.Model) -> ir.Model:
    """A copy in which a quantized activation is only clipped to the range of its integers.

    Its outputs differ from those of the graph by the noise of rounding activations alone: the
    measure of how far apart two correct implementations of the graph may come to lie.

    Pairs with a scale per channel are left as they are.
    """
    copy = model.clone()
    names = Names(copy)
    for node in list(copy.graph):
        if not _is_activation(node):
            continue
        bounds = _bounds(node)
        readers = node.outputs[0].consumers()
        if bounds is None or any(reader.op_type != "DequantizeLinear" for reader in readers):
            continue
        limits = []
        for wanted, bound in zip(("low", "high"), bounds, strict=True):
            name = names.fresh(f"{node.name}_{wanted}")
            limit = ir.Value(name=name, const_value=ir.tensor(np.float32(bound), name=name))
            copy.graph.register_initializer(limit)
            limits.append(limit)
        clip = ir.Node("", "Clip", [node.inputs[0], *limits], name=names.fresh(f"{node.name}/Clip"))
        clip.outputs[0].name = names.fresh(f"{node.outputs[0].name}_clipped")
        copy.graph.insert_before(node, clip)
        for reader in readers:
            # Through an Identity, since an output of the graph keeps its name.
            identity = ir.Node("", "Identity", clip.outputs, name=names.fresh(f"{reader.name}/Id"))
            ir.convenience.replace_nodes_and_values(
                copy.graph, reader, [reader], [identity], reader.outputs, identity.outputs
            )
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            copy.graph.remove(node, safe=True)
    return copy


def _is_activation(node: ir.Node) -> bool:
    return (
        node.domain == ""
        and node.op_type == "QuantizeLinear"
        and constant_tensor(node.inputs[0]) is None
        and producer(node.inputs[0], "Constant") is None
    )


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    scale = constant(node.inputs[1])
    zero_point = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.uint8)
    if scale is None or zero_point is None or scale.size != 1:
        return None
    if zero_point.dtype not in (np.int8, np.uint8, np.int16, np.uint16):
        return None
    limits = np.iinfo(zero_point.dtype)
    offset, step = int(zero_point.reshape(())), float(scale.reshape(()))
    return (limits.min - offset) * step, (limits.max - offset) * step
