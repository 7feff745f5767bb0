"""Which nodes give equal outputs for equal inputs, every time."""

from __future__ import annotations

import onnx_ir as ir

from ingot.passes.cleanup.constants import constant

# A generator with a seed gives one sequence, but two nodes, or two runs, need not share it.
RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def has_subgraphs(node: ir.Node) -> bool:
    """Whether the node is control flow: If, Loop, Scan and the like."""
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def is_pure(node: ir.Node, opset: int) -> bool:
    """Whether the node is an ONNX operator without subgraphs that depends on its inputs alone.

    Nothing is known of operators of other domains, nor of what a function calls; they are not
    taken for pure.
    """
    if node.domain not in ("", "ai.onnx.ml") or node.op_type in RANDOM or has_subgraphs(node):
        return False
    if node.op_type == "Dropout":
        return not may_drop(node, opset)
    return True


def may_drop(node: ir.Node, opset: int) -> bool:
    """Whether a Dropout may run in training mode: unless its third input is absent or false.

    Up to opset 6 the attribute ``is_test``, 0 by default, decides; up to 11 it never drops.
    """
    if opset < 7:
        return node.attributes.get_int("is_test", 0) == 0
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    mode = constant(node.inputs[2])
    return mode is None or bool(mode)
