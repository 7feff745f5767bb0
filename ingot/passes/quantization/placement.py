"""Where a graph is quantized: which inputs of which nodes read integers, on which common grids.

The rule is one of need, from the outputs backwards: a linear layer needs its activation in
integers; an operator that only moves values hands the need on to its input; a kernel's own
epilogue stays float up to the value that somebody needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

import onnx_ir as ir

from ingot.arithmetic import IntegerProfile, Treatment
from ingot.onnx_graph.matching import constant, constant_tensor, rank, static_dim
from ingot.passes.quantization.linear import LinearLayer, linear_layer

Edge = tuple[ir.Node, int]

_IMAGE_RANK = 4
# Inputs beyond the first of an operator that moves values are shapes and axes.
_ALL_INPUTS_MOVE = frozenset({"Concat"})
_SHAPE_READERS = frozenset({"Shape", "Size"})
_GATES = frozenset({"Sigmoid", "HardSigmoid"})


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where integers go.

    Attributes:
        layers: The linear layers that get integer weights, in order.
        edges: (node, input position) of what reads integers, in order.
        values: The values that are quantized, in the order in which they are computed.
        grids: For each of them the value whose grid it shares; itself where it has its own.
    """

    layers: list[LinearLayer]
    edges: list[Edge]
    values: list[ir.Value]
    grids: dict[ir.Value, ir.Value]

    def members(self, root: ir.Value) -> list[ir.Value]:
        """The values on one grid."""
        return [value for value in self.values if self.grids[value] is root]


def place(graph: ir.Graph, profile: IntegerProfile, excluded: Collection[str] = ()) -> Placement:
    """Decides where a float graph is quantized; the graph is not changed.

    Args:
        graph: A float graph; its subgraphs are left alone.
        profile: What the target computes in integers.
        excluded: Names of linear layers that stay float.
    """
    return _Placer(graph, profile, frozenset(excluded)).place()


class _Placer:
    def __init__(self, graph: ir.Graph, profile: IntegerProfile, excluded: frozenset[str]) -> None:
        self._graph = graph
        self._profile = profile
        self._excluded = excluded
        self._edges: set[Edge] = set()
        self._layers: dict[ir.Node, LinearLayer] = {}
        self._parents: dict[ir.Value, ir.Value] = {}
        self._bounds: set[ir.Node] = set()
        self._order = {node: index for index, node in enumerate(graph)}

    def place(self) -> Placement:
        for node in reversed(self._graph):
            if node.domain == "":
                self._edges.update(self._wanted_edges(node))
        self._extend_to_other_readers()
        values = list(self._quantized_values())
        for node in self._graph:
            self._share_grids(node)
        edges = [
            (node, position)
            for node in self._graph
            for position in range(len(node.inputs))
            if (node, position) in self._edges
        ]
        layers = [self._layers[node] for node in self._graph if node in self._layers]
        return Placement(layers, edges, values, {value: self._root(value) for value in values})

    def _wanted_edges(self, node: ir.Node) -> Iterator[Edge]:
        treatment = self._profile.treatment(node.op_type)
        if treatment is Treatment.LINEAR:
            layer = self._integer_layer(node)
            if layer is not None:
                self._layers[node] = layer
                yield node, 0
            return
        if not any(self._is_wanted(output) for output in node.outputs):
            return
        if treatment is Treatment.SAME_GRID:
            if _keeps_grid(node):
                yield from self._data_edges(node)
        elif treatment is Treatment.OWN_GRID:
            yield from self._float_edges(node, (0,))
        elif treatment is Treatment.EPILOGUE:
            yield from self._epilogue_edges(node)
        elif treatment is Treatment.RESIDUAL:
            yield from self._residual_edges(node)
        elif treatment is Treatment.GATE:
            yield from self._gate_edges(node)

    def _integer_layer(self, node: ir.Node) -> LinearLayer | None:
        """A node as a layer that gets integer weights; None where it gets none."""
        layer = None if node.name in self._excluded else linear_layer(node)
        if layer is None or not _is_float(layer.activation):
            return None
        return layer if why_float(layer, self._profile) is None else None

    def _is_wanted(self, value: ir.Value) -> bool:
        """Whether integers are read of a value, or of the bounds that are applied as it is made."""
        return self._is_needed(value) or any(use.node in self._bounds for use in value.uses())

    def _is_needed(self, value: ir.Value) -> bool:
        return any(use in self._edges for use in map(tuple, value.uses()))

    def _float_edges(self, node: ir.Node, positions: Collection[int]) -> Iterator[Edge]:
        for position in positions:
            value = node.inputs[position]
            if value is not None and _is_float(value) and constant_tensor(value) is None:
                yield node, position

    def _data_edges(self, node: ir.Node) -> Iterator[Edge]:
        everything = node.op_type in _ALL_INPUTS_MOVE
        if everything and any(constant_tensor(value) is not None for value in node.inputs):
            return
        yield from self._float_edges(node, range(len(node.inputs)) if everything else (0,))

    def _epilogue_edges(self, node: ir.Node) -> Iterator[Edge]:
        value = node.inputs[0]
        if self._profile.every_edge:
            if self._is_bounded_by(node, value):
                self._bounds.add(node)
            else:
                yield from self._float_edges(node, (0,))
            return
        # A value that others read too lies in memory anyway: in integers, where it is an image.
        if value is not None and rank(value) == _IMAGE_RANK and not _in_one_kernel(value):
            yield from self._float_edges(node, (0,))

    def _is_bounded_by(self, node: ir.Node, value: ir.Value | None) -> bool:
        """Whether an epilogue can be applied by the operator before it, as it writes integers."""
        if value is None or len(value.uses()) != 1 or value.is_graph_output():
            return False
        producer = value.producer()
        if producer is None or producer.domain != "" or not _others_constant(node):
            return False
        treatment = self._profile.treatment(producer.op_type)
        if treatment is Treatment.LINEAR:
            return self._integer_layer(producer) is not None
        return treatment not in (None, Treatment.SAME_GRID)

    def _residual_edges(self, node: ir.Node) -> Iterator[Edge]:
        if any(constant_tensor(value) is not None for value in node.inputs):
            return
        if self._profile.every_edge:
            yield from self._float_edges(node, (0, 1))
        elif rank(node.outputs[0]) == _IMAGE_RANK:
            anchor = self._anchor(node)
            yield from self._float_edges(node, [p for p in (0, 1) if p != anchor])

    def _anchor(self, node: ir.Node) -> int | None:
        """Which operand of a sum its kernel computes itself: the last one of a linear layer's."""
        found: list[tuple[int, int]] = []
        for position, value in enumerate(node.inputs):
            if value is not None and len(value.uses()) == 1 and not value.is_graph_output():
                layer = _kernel_root(value)
                if layer is not None:
                    found.append((self._order[layer], position))
        return max(found)[1] if found else None

    def _gate_edges(self, node: ir.Node) -> Iterator[Edge]:
        if self._profile.every_edge:
            yield from self._float_edges(node, (0, 1))
            return
        gate = gate_position(node)
        if gate is not None:
            yield from self._float_edges(node, (1 - gate,))

    def _extend_to_other_readers(self) -> None:
        """Readers of a quantized value read its integers too, unless the float is kept for them."""
        for value in list(self._quantized_values()):
            producer = value.producer()
            if producer is None or (
                producer.domain == "" and producer.op_type in self._profile.float_results
            ):
                continue
            self._edges.update(
                (use.node, use.idx)
                for use in value.uses()
                if use.node in self._order and use.node.op_type not in _SHAPE_READERS
            )

    def _quantized_values(self) -> Iterator[ir.Value]:
        produced = [*self._graph.inputs, *(v for node in self._graph for v in node.outputs)]
        return (value for value in produced if self._is_needed(value))

    def _share_grids(self, node: ir.Node) -> None:
        if self._profile.treatment(node.op_type) is Treatment.RESIDUAL:
            self._share_grids_of_operands(node)
        if self._profile.treatment(node.op_type) is not Treatment.SAME_GRID:
            return
        outputs = [value for value in node.outputs if self._is_needed(value)]
        inputs = [
            value
            for position, value in enumerate(node.inputs)
            if value is not None and (node, position) in self._edges
        ]
        if outputs and inputs and _keeps_grid(node):
            for value in (*inputs[1:], *outputs):
                self._parents[self._root(value)] = self._root(inputs[0])

    def _share_grids_of_operands(self, node: ir.Node) -> None:
        """Puts the operands of a sum on one grid, where the machine adds integers as they are."""
        operands = [value for p, value in enumerate(node.inputs) if (node, p) in self._edges]
        if self._profile.every_edge and len(operands) == 2:
            left, right = (self._root(value) for value in operands if value is not None)
            self._parents[right] = left

    def _root(self, value: ir.Value) -> ir.Value:
        while value in self._parents and self._parents[value] is not value:
            value = self._parents[value]
        return value


def why_float(layer: LinearLayer, profile: IntegerProfile) -> str | None:
    """Why a target has no integer arithmetic for a layer; None where it has."""
    shape = layer.array().shape
    if layer.node.op_type == "Conv" and len(shape) - 2 not in profile.spatial_axes:
        return f"a convolution over {len(shape) - 2} axes is computed in float"
    if 0 in shape:
        return "it has no weights: a dimension of theirs is 0"
    if layer.bias is not None and layer.constant_bias() is None:
        return "its bias is not a constant per channel"
    return None


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _keeps_grid(node: ir.Node) -> bool:
    """Whether a moving operator writes only values of its input, and zeros."""
    if node.op_type == "Pad":
        mode = node.attributes.get_string("mode", "constant")
        value = node.inputs[2] if len(node.inputs) > 2 else None
        filled = 0.0 if value is None else constant(value)
        return mode != "constant" or (filled is not None and not bool(filled))
    if node.op_type == "MaxPool":
        return len(node.outputs) == 1
    if node.op_type == "Resize":
        return node.attributes.get_string("mode", "nearest") != "cubic"
    return True


def _in_one_kernel(value: ir.Value) -> bool:
    """Whether what reads a value is one chain: a single reader, or x and sigmoid(x) of SiLU."""
    if value.is_graph_output():
        return False
    readers = value.consumers()
    if len(readers) <= 1:
        return True
    return any(_is_self_gated(node, value) for node in readers) and len(readers) == 2


def _is_self_gated(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node is ``value * f(value)``."""
    if node.domain != "" or node.op_type != "Mul" or value not in node.inputs:
        return False
    other = next((operand for operand in node.inputs if operand is not value), None)
    gate = None if other is None else other.producer()
    return gate is not None and gate.op_type in _GATES and gate.inputs[0] is value


def _kernel_root(value: ir.Value) -> ir.Node | None:
    """The linear layer whose kernel computes a value by its float epilogue, if one does."""
    while True:
        node = value.producer()
        if node is None or node.domain != "":
            return None
        if linear_layer(node) is not None:
            return node
        source = node.inputs[0] if node.inputs else None
        if source is None:
            return None
        if node.op_type == "Mul":
            source = next((v for v in node.inputs if v and _is_self_gated(node, v)), None)
            if source is None:
                return None
        elif node.op_type == "Add":
            constants = [constant_tensor(v) is not None for v in node.inputs]
            if not any(constants):
                return None
            source = node.inputs[constants.index(False)]
        elif node.op_type not in _UNARY or not _others_constant(node):
            return None
        if source is None or not _in_one_kernel(source):
            return None
        value = source


def _others_constant(node: ir.Node) -> bool:
    return all(constant_tensor(v) is not None for v in node.inputs[1:] if v is not None)


_UNARY = frozenset(
    {"Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Swish", "Gelu", "Elu",
     "Tanh", "Softplus", "Mish", "PRelu"}
)  # fmt: skip


def gate_position(node: ir.Node) -> int | None:
    """Which operand of a product is a factor per channel of an image, if one is: [N, C, 1, 1]."""
    if any(rank(value) != _IMAGE_RANK for value in node.inputs):
        return None
    pointwise = [static_dim(value, 2) == 1 and static_dim(value, 3) == 1 for value in node.inputs]
    if any(constant_tensor(value) is not None for value in node.inputs):
        return None
    if pointwise[0] != pointwise[1]:
        return pointwise.index(True)
    if all(pointwise):
        for position, value in enumerate(node.inputs):
            source = None if value is None else value.producer()
            if source is not None and source.op_type in _GATES:
                other = node.inputs[1 - position]
                if source.inputs[0] is not other:
                    return position
    return None
