"""``cleanup.dead-code``: what no output depends on."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from ingot.passes.base import EXACT, IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup.scopes import roots, subgraphs


class DeadCode(IngotPass[PassOptions]):
    """Removes nodes, initializers, functions and optional outputs that nothing depends on.

    Liveness is marked from the outputs, through subgraphs: onnx_ir's pass counts uses instead, and
    keeps what only the body of a dead If or Loop reads.
    """

    name = "cleanup.dead-code"
    summary = "Remove nodes, initializers and functions that no output depends on."
    tolerance = EXACT

    def call(self, model: ir.Model) -> PassOutcome:
        """Removes dead code from all graphs; inputs and outputs of the model stay."""
        functions = len(model.functions)
        RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        removed = functions - len(model.functions)
        for root in roots(model):
            removed += _sweep(root, _live_nodes(root))
        for graph in model.graphs():
            removed += _drop_unread_initializers(graph)
        # The library's pass is right in what is left: optional outputs that nothing reads.
        parts = _count_parts(model)
        RemoveUnusedNodesPass()(model)
        removed += parts - _count_parts(model)
        return PassOutcome(model, removed > 0, removed)


def _live_nodes(root: ir.Graph) -> set[ir.Node]:
    live: set[ir.Node] = set()
    pending: list[ir.Value | None] = list(root.outputs)
    while pending:
        value = pending.pop()
        node = value.producer() if value is not None else None
        if node is None or node in live:
            continue
        live.add(node)
        pending.extend(node.inputs)
        for subgraph in subgraphs(node):
            pending.extend(subgraph.outputs)
    return live


def _sweep(graph: ir.Graph, live: set[ir.Node]) -> int:
    removed = 0
    for node in reversed(graph):
        for subgraph in subgraphs(node):
            if node not in live:
                subgraph.outputs.clear()
            removed += _sweep(subgraph, live)
        if node not in live:
            graph.remove(node, safe=True)
            removed += 1
    return removed


def _count_parts(model: ir.Model) -> int:
    """Inputs, wanted outputs and attributes of all nodes."""
    return sum(
        len(node.inputs) + len(node.attributes) + sum(value.name != "" for value in node.outputs)
        for root in roots(model)
        for node in root.all_nodes()
    )


def _drop_unread_initializers(graph: ir.Graph) -> int:
    unread = [
        name
        for name, value in graph.initializers.items()
        if not (value.uses() or value.is_graph_output() or value.is_graph_input())
    ]
    for name in unread:
        del graph.initializers[name]
    return len(unread)
