"""Nodes of which nothing may go."""

from __future__ import annotations

import onnx_ir as ir

from ingot.passes.pruning.couplings import Couplings


def hold_node(node: ir.Node, couplings: Couplings, reason: str) -> None:
    """Holds all that a node reads and computes, what is read in its bodies included."""
    for value in (*node.inputs, *node.outputs):
        couplings.hold_all(value, reason)
    for graph in _bodies(node):  # they may read what is outside of them
        for inner in graph.all_nodes():
            for value in (*inner.inputs, *inner.outputs):
                couplings.hold_all(value, reason)
        for value in graph.outputs:
            couplings.hold_all(value, reason)


def _bodies(node: ir.Node) -> list[ir.Graph]:
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    return bodies


def couple_broadcast(
    value: ir.Value, output: ir.Value, couplings: Couplings, reason: str, but_last: int = 0
) -> None:
    """Couples axes from the right; an axis of size one is held, and holds nothing else.

    Args:
        value: What is broadcast.
        output: What it is broadcast to.
        couplings: The couplings.
        reason: Why axes that do not fit are held.
        but_last: How many of the last axes are left out.
    """
    if value.shape is None or output.shape is None:
        couplings.hold_all(value, f"the shape of '{value.name}' or '{output.name}' is unknown")
        couplings.hold_all(output, f"the shape of '{value.name}' or '{output.name}' is unknown")
        return
    for axis in range(-len(value.shape), -but_last):
        if value.shape[axis] == 1:
            couplings.hold(couplings.at(value, axis), reason)
        else:
            couplings.couple(couplings.at(value, axis), couplings.at(output, axis), reason)
