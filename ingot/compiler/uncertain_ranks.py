"""Values whose rank depends on sizes that are given when the model runs.

Squeeze without axes drops whatever dimensions are one: of an open batch, that too, when it is one.
Exporters write down the shape that they saw.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.onnx_graph.matching import constant


def forget_uncertain_ranks(model: ir.Model) -> None:
    """Takes back what a model declares of values that depend on such a node, in place.

    Shape inference, which is run afterwards, finds those that are certain after all.

    Args:
        model: The model; open dimensions are symbols.
    """
    for graph in model.graphs():
        uncertain: set[ir.Value] = set()
        for node in graph:
            read = any(value in uncertain for value in node.inputs if value is not None)
            if read or _drops_what_is_one(node):
                uncertain.update(node.outputs)
        for value in uncertain:
            value.shape = None


def _drops_what_is_one(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type != "Squeeze" or not node.inputs:
        return False
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is not None or "axes" in node.attributes:
        return False
    source = node.inputs[0]
    if source is None or constant(source) is not None:
        return False
    if source.shape is None or any(not isinstance(size, int) for size in source.shape):
        return True
    # Bound sizes make it certain, and may have made what was written down wrong.
    declared = node.outputs[0].shape
    return declared is not None and len(declared) != sum(size != 1 for size in source.shape)
