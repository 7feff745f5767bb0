"""Where a graph is in 16 bits: which values are rounded, and so who reads 16 bits.

The rule is one of memory: what a layer multiplies is in 16 bits, and so is every value that a
layer's kernel has to write, up to the end of what is element-wise behind it. What stays in a
kernel's registers is not rounded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx_ir as ir

from ingot.arithmetic import BOUNDS, FUNCTIONS, MOVES
from ingot.onnx_graph.matching import constant_tensor

Edge = tuple[ir.Node, int]

MULTIPLIED: Mapping[str, int] = {
    "Conv": 2,
    "ConvTranspose": 2,
    "Gemm": 2,
    "MatMul": 2,
    "Attention": 3,
}
"""Operators that multiply, and how many of their first inputs are multiplied."""

_ELEMENTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Min", "Max", "Erf", "Exp", "Neg", "Abs", "Sqrt", "Pow", "Where"}
) | {*BOUNDS, *FUNCTIONS}  # fmt: skip
# Inputs beyond the first of an operator that moves values are shapes and axes.
_ALL_INPUTS_MOVE = frozenset({"Concat"})
# A softmax reads its scores in the registers of the product before it.
_READ_IN_REGISTERS = frozenset({"Softmax"})
_SHAPE_READERS = frozenset({"Shape", "Size"})


def operands(node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
    """The inputs of a node that are multiplied by each other, with their positions."""
    for position, value in enumerate(node.inputs[: MULTIPLIED.get(node.op_type, 0)]):
        if value is not None:
            yield position, value


def place(
    graph: ir.Graph, layers: Collection[ir.Node], excluded: Collection[ir.Value] = ()
) -> Mapping[ir.Value, Sequence[Edge]]:
    """Decides which values are rounded to 16 bits; the graph is not changed.

    Args:
        graph: The graph; its subgraphs are left alone.
        layers: Its nodes that multiply in 16 bits.
        excluded: Values that stay float32; no layer multiplies them.

    Returns:
        Who reads each rounded value, in the order in which the values are computed.
    """
    return _Placer(graph, frozenset(layers), frozenset(excluded)).place()


class _Placer:
    def __init__(
        self, graph: ir.Graph, layers: frozenset[ir.Node], excluded: frozenset[ir.Value]
    ) -> None:
        self._graph = graph
        self._layers = layers
        self._excluded = excluded
        self._order = {node: index for index, node in enumerate(graph)}
        self._rounded: set[ir.Value] = set()
        # The layers whose kernels hold a value in registers; none where it comes from memory.
        self._kernels: dict[ir.Value, frozenset[ir.Node]] = {}

    def place(self) -> Mapping[ir.Value, Sequence[Edge]]:
        for node in self._graph:
            if node in self._layers:
                for _, value in operands(node):
                    self._demand(value)
        for node in self._graph:
            self._visit(node)
        ordered = [*self._graph.inputs, *(out for node in self._graph for out in node.outputs)]
        found = {value: self._readers(value) for value in ordered if value in self._rounded}
        return {value: readers for value, readers in found.items() if readers}

    def _demand(self, value: ir.Value) -> None:
        """Rounds a value, and what is only moved to become it."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if one in self._rounded or one in self._excluded or not _can_be_rounded(one):
                continue
            self._rounded.add(one)
            node = one.producer()
            if node is not None and node.domain == "" and node.op_type in MOVES:
                moved = node.inputs if node.op_type in _ALL_INPUTS_MOVE else node.inputs[:1]
                waiting += [source for source in moved if source is not None]

    def _visit(self, node: ir.Node) -> None:
        """Says which kernels hold a node's results, and rounds what they have to write."""
        elementwise = node.domain == "" and node.op_type in _ELEMENTWISE
        if node in self._layers:
            kernels = frozenset({node})
        elif elementwise:
            kernels = self._joined(node)
        else:
            kernels = frozenset()
        for output in node.outputs:
            in_region = bool(kernels) or (elementwise and self._reads_rounded(node))
            if in_region and self._has_to_be_written(output):
                self._demand(output)
            self._kernels[output] = frozenset() if output in self._rounded else kernels

    def _joined(self, node: ir.Node) -> frozenset[ir.Node]:
        """The kernels that an element-wise node is computed in.

        That of the operand computed last, where its operands are of several: the others are read
        from memory.
        """
        held = [
            (value, self._kernels.get(value, frozenset()))
            for value in node.inputs
            if value is not None and value not in self._rounded
        ]
        held = [(value, kernels) for value, kernels in held if kernels]
        if not held:
            return frozenset()
        last = max((kernels for _, kernels in held), key=self._position)
        for value, kernels in held:
            if not kernels & last:
                self._demand(value)
        return last

    def _position(self, kernels: frozenset[ir.Node]) -> int:
        return max(self._order[node] for node in kernels)

    def _reads_rounded(self, node: ir.Node) -> bool:
        return any(value in self._rounded for value in node.inputs if value is not None)

    def _has_to_be_written(self, value: ir.Value) -> bool:
        """Whether anything but an element-wise operator reads it."""
        return any(
            node.op_type not in _ELEMENTWISE | _READ_IN_REGISTERS | _SHAPE_READERS
            for node, _ in self._readers(value)
        )

    def _readers(self, value: ir.Value) -> list[Edge]:
        """Nodes of the main graph that read its elements, in order."""
        found = [
            (use.node, use.idx)
            for use in value.uses()
            if use.node.graph is self._graph and use.node.op_type not in _SHAPE_READERS
        ]
        return sorted(found, key=lambda edge: (self._order[edge[0]], edge[1]))


def _can_be_rounded(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT and constant_tensor(value) is None
