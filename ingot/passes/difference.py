"""What differs between a graph before and after a pass.

Passes of other libraries do not say what they touched, and a pass's own word is not evidence, so
the graphs are compared by the names of their nodes, subgraphs and functions included. Weights are
compared by identity first: only a tensor that was replaced is read.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

_Tensor = ir.TensorProtocol | None


@dataclasses.dataclass(frozen=True)
class NodeState:
    """All of a node that its results depend on, apart from what its subgraphs contain."""

    operator: tuple[str, str, str]
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    attributes: tuple[tuple[str, object], ...]
    tensors: tuple[_Tensor, ...]

    def same_as(self, other: NodeState) -> bool:
        """Whether the two compute the same; tensors are read only where they were replaced."""
        return (
            self.operator == other.operator
            and self.inputs == other.inputs
            and self.outputs == other.outputs
            and self.attributes == other.attributes
            and len(self.tensors) == len(other.tensors)
            and all(map(same_tensor, self.tensors, other.tensors))
        )


@dataclasses.dataclass(frozen=True)
class GraphState:
    """A graph's nodes and interface at one moment; shares all weights with the model."""

    nodes: dict[str, NodeState]
    interface: tuple[object, ...]
    operators: Counter[str]
    initializer_bytes: int

    @classmethod
    def capture(cls, model: ir.Model) -> GraphState:
        """Records the model's state. Cost: proportional to nodes and edges, not to weights."""
        nodes: dict[str, NodeState] = {}
        operators: Counter[str] = Counter()
        for name, node in _named_nodes(model):
            nodes[name] = _state(node)
            operators[f"{node.domain}::{node.op_type}" if node.domain else node.op_type] += 1
        interface = (
            tuple(
                (graph.name, _names(graph.inputs), _names(graph.outputs)) for graph in _roots(model)
            ),
            tuple(sorted(model.opset_imports.items())),
        )
        return cls(nodes, interface, operators, initializer_bytes(model))


@dataclasses.dataclass(frozen=True)
class GraphDifference:
    """Nodes by name that a pass removed, added and changed, and operators by count."""

    removed: list[str]
    added: list[str]
    changed: list[str]
    op_delta: dict[str, int]
    interface_changed: bool

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed or self.interface_changed)


def compare_graphs(before: GraphState, after: GraphState) -> GraphDifference:
    """Compares two states of a model; lists are in the graphs' own order."""
    delta = {
        operator: after.operators[operator] - before.operators[operator]
        for operator in sorted(before.operators.keys() | after.operators.keys())
    }
    return GraphDifference(
        removed=[name for name in before.nodes if name not in after.nodes],
        added=[name for name in after.nodes if name not in before.nodes],
        changed=[
            name
            for name, state in after.nodes.items()
            if name in before.nodes and not state.same_as(before.nodes[name])
        ],
        op_delta={operator: change for operator, change in delta.items() if change},
        interface_changed=before.interface != after.interface,
    )


def initializer_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, subgraphs included; a tensor shared by two counts twice."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def same_tensor(left: _Tensor, right: _Tensor) -> bool:
    """Whether two constants have one type, shape and content; reads them only when it must."""
    if left is right:
        return True
    if left is None or right is None:
        return False
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if isinstance(left, ir.StringTensor) or isinstance(right, ir.StringTensor):
        return bool((left.numpy() == right.numpy()).all())
    return left.tobytes() == right.tobytes()


def _roots(model: ir.Model) -> Iterator[ir.Graph]:
    yield model.graph
    for function in model.functions.values():
        yield function.graph


def _named_nodes(model: ir.Model) -> Iterator[tuple[str, ir.Node]]:
    """Yields each node with a name; a missing or repeated one is made unique in graph order."""
    seen: Counter[str] = Counter()
    for root in _roots(model):
        for node in ir.traversal.RecursiveGraphIterator(root):
            name = node.name or f"{node.op_type}({', '.join(map(str, _names(node.outputs)))})"
            seen[name] += 1
            yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), node


def _names(values: object) -> tuple[str | None, ...]:
    return tuple(None if value is None else value.name for value in values)  # type: ignore[attr-defined]


def _state(node: ir.Node) -> NodeState:
    attributes: list[tuple[str, object]] = []
    tensors: list[_Tensor] = []
    for name, attribute in sorted(node.attributes.items()):
        value: object = attribute.value
        if attribute.is_ref():
            value = ("reference", attribute.ref_attr_name)
        elif attribute.type == ir.AttributeType.TENSOR:
            tensors.append(attribute.as_tensor())
            value = "tensor"
        elif attribute.type == ir.AttributeType.TENSORS:
            tensors.extend(attribute.as_tensors())
            value = "tensors"
        elif attribute.type == ir.AttributeType.GRAPH:
            value = _subgraph_interface(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            value = tuple(map(_subgraph_interface, attribute.as_graphs()))
        else:
            value = repr(value)  # also tells 0.0 from -0.0, and a NaN from nothing
        attributes.append((name, (attribute.type, value)))
    tensors.extend(
        value.const_value if value is not None and value.is_initializer() else None
        for value in node.inputs
    )
    return NodeState(
        operator=(node.domain, node.op_type, node.overload),
        inputs=_names(node.inputs),
        outputs=_names(node.outputs),
        attributes=tuple(attributes),
        tensors=tuple(tensors),
    )


def _subgraph_interface(graph: ir.Graph) -> tuple[object, object]:
    return _names(graph.inputs), _names(graph.outputs)
