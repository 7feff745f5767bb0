"""A model's graphs and how they lie within each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Scope:
    """A graph and what it can see.

    Attributes:
        graph: The model's graph, a function's, or a subgraph of either.
        opset: The version of ONNX's operator set in it.
        outer: The graphs around it, whose values it can read; the outermost first.
    """

    graph: ir.Graph
    opset: int
    outer: tuple[ir.Graph, ...] = ()

    def sees(self, graph: object) -> bool:
        """Whether values of ``graph`` can be read here."""
        return graph is self.graph or any(graph is outer for outer in self.outer)


def scopes(model: ir.Model) -> list[Scope]:
    """All graphs of a model, functions included, each before the graphs within it."""
    found: list[Scope] = []
    for root in roots(model):
        opset = root.opset_imports.get("", model.opset_imports.get("", 1))
        found.extend(_within(Scope(root, opset)))
    return found


def roots(model: ir.Model) -> Iterator[ir.Graph]:
    """The model's graph, then those of its functions."""
    yield model.graph
    for function in model.functions.values():
        yield function.graph


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that a control flow node holds, not those within them."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _within(scope: Scope) -> Iterator[Scope]:
    yield scope
    for node in scope.graph:
        for graph in subgraphs(node):
            yield from _within(Scope(graph, scope.opset, (*scope.outer, scope.graph)))
