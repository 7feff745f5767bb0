"""Who runs which node: what compiled code cannot take becomes regions of the graph.

A region is convex: no path leaves it and comes back, so that it can run as a whole. Regions are as
few as the order of the nodes allows: nodes are sorted into alternating levels of compiled and other
nodes, and the other nodes of a level make one region. Work between two of them that is smaller
than the cost of leaving and entering compiled code goes with them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import networkx as nx
import onnx_ir as ir

# Operators whose work is that of moving their output: others may do far more per element.
# fmt: off
_LIGHT = frozenset({
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Div", "Dropout", "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather",
    "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod",
    "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range", "Reciprocal", "Relu", "Reshape", "Round",
    "Shape", "Sigmoid", "Sign", "Size", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub",
    "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
})
# fmt: on
# Entering and leaving a region takes about 20 us (measured: a call back to Python, the arrays'
# headers, ONNX Runtime's own call); an element-wise operator makes about 2,000 elements in each.
_BORDER_ELEMENTS = 1 << 15


@dataclasses.dataclass(frozen=True)
class GraphRegion:
    """Nodes that run together outside of the compiled code.

    Attributes:
        name: Its name in the artifact.
        nodes: In the order of the graph.
        inputs: What they read that is made outside of the region; weights are not among them.
        outputs: What they make that is read outside of it, or is an output of the graph.
    """

    name: str
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]


def find_regions(
    graph: ir.Graph, refused: Collection[str], is_foreign: Callable[[ir.Value], bool]
) -> list[GraphRegion]:
    """Returns the regions that the nodes form which compiled code cannot take.

    Args:
        graph: A graph in topological order, its nodes named.
        refused: Names of the nodes that compiled code cannot take.
        is_foreign: Whether compiled code cannot hold a value: such a value never leaves a region,
            but for the graph's own outputs.

    Returns:
        The regions in the order in which they can run; none reads what a later one makes.
    """
    left = {node for node in graph if node.name in refused}
    flow = _flow(graph)
    while True:
        levels = _levels(graph, flow, left)
        more = _between_foreign(flow, levels, left, is_foreign) or _light(flow, levels, left)
        if not more:
            break
        left |= more
    by_level: dict[int, list[ir.Node]] = {}
    for node in graph:
        if node in left:
            by_level.setdefault(levels[node], []).append(node)
    groups = [by_level[level] for level in sorted(by_level)]
    return [_region(f"fallback{i}", nodes, flow) for i, nodes in enumerate(groups)]


def read_values(node: ir.Node) -> list[ir.Value]:
    """Returns what a node reads, each value once: its inputs, and what its subgraphs capture."""
    found = dict.fromkeys(value for value in node.inputs if value is not None)
    for graph in _subgraphs(node):
        inner = {*graph.inputs, *graph.initializers.values()}
        reading: list[ir.Value | None] = list(graph.outputs)
        for part in graph:
            reading += read_values(part)
            inner.update(part.outputs)
        found.update(dict.fromkeys(v for v in reading if v is not None and v not in inner))
    return list(found)


def is_weight(value: ir.Value) -> bool:
    """Whether a value is an initializer that no caller can replace."""
    return value.is_initializer() and not value.is_graph_input()


def _subgraphs(node: ir.Node) -> Iterable[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _flow(graph: ir.Graph) -> nx.DiGraph:
    """Which node reads what another one makes; the edge holds those values."""
    flow = nx.DiGraph()
    flow.add_nodes_from(graph)
    for node in graph:
        for value in read_values(node):
            maker = value.producer()
            if maker is not None and maker.graph is graph:
                if not flow.has_edge(maker, node):
                    flow.add_edge(maker, node, values=[])
                flow.edges[maker, node]["values"].append(value)
    return flow


def _levels(graph: ir.Graph, flow: nx.DiGraph, left: Collection[ir.Node]) -> dict[ir.Node, int]:
    """Returns even levels for compiled nodes and odd ones for others, as low as can be."""
    levels: dict[ir.Node, int] = {}
    for node in graph:
        own = int(node in left)
        before = [levels[maker] + int((maker in left) != bool(own)) for maker in flow.pred[node]]
        levels[node] = max([own, *before])
    return levels


def _between_foreign(
    flow: nx.DiGraph,
    levels: Mapping[ir.Node, int],
    left: Collection[ir.Node],
    is_foreign: Callable[[ir.Value], bool],
) -> set[ir.Node]:
    """Compiled nodes that stand in the way of a value that code cannot hold.

    They make or read it, or are between two regions of which one needs it of the other.
    """
    found: set[ir.Node] = set()
    for maker, reader, values in flow.edges(data="values"):
        if not any(map(is_foreign, values)):
            continue
        first, last = levels[maker], levels[reader]
        if (maker in left) != (reader in left):
            found |= {maker, reader} - set(left)
        elif first != last:
            makers = [node for node in left if levels[node] == first]
            readers = [node for node in left if levels[node] == last]
            behind = set().union(*(nx.descendants(flow, node) for node in makers))
            before = set().union(*(nx.ancestors(flow, node) for node in readers))
            found |= (behind & before) - set(left)
    return found


def _light(
    flow: nx.DiGraph, levels: Mapping[ir.Node, int], left: Collection[ir.Node]
) -> set[ir.Node]:
    """Compiled nodes at the border of a region that are less work than crossing it."""
    if not left:
        return set()
    compiled = flow.subgraph(node for node in flow if node not in left)
    same = nx.Graph()
    same.add_nodes_from(compiled)
    same.add_edges_from((a, b) for a, b in compiled.edges if levels[a] == levels[b])
    found: set[ir.Node] = set()
    for segment in nx.connected_components(same):
        around = {near for node in segment for near in (*flow.pred[node], *flow.succ[node])}
        if around & set(left) and sum(map(_elements, segment)) <= _BORDER_ELEMENTS:
            found |= segment
    return found


def _elements(node: ir.Node) -> float:
    """The elements that a light operator makes; infinite for another, or where unknown."""
    if node.domain != "" or node.op_type not in _LIGHT:
        return math.inf
    total = 0
    for value in node.outputs:
        if value.shape is None:
            return math.inf
        sizes = list(value.shape)
        if all(isinstance(size, int) for size in sizes):
            total += math.prod(size for size in sizes if isinstance(size, int))
        elif len(sizes) > 1 or value.dtype is None or not value.dtype.is_integer():
            return math.inf
    return total


def _region(name: str, nodes: Sequence[ir.Node], flow: nx.DiGraph) -> GraphRegion:
    own = set(nodes)
    inputs = dict.fromkeys(
        value
        for node in nodes
        for value in read_values(node)
        if value.producer() not in own and not is_weight(value)
    )
    outside = {
        value
        for node in nodes
        for reader in flow.succ[node]
        if reader not in own
        for value in flow.edges[node, reader]["values"]
    }
    outputs = [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or value in outside
    ]
    return GraphRegion(name, tuple(nodes), tuple(inputs), tuple(outputs))
