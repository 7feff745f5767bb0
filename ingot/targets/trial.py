"""Finding the nodes that make a graph fail, where the failure itself does not name them.

TVM's passes and LLVM see kernels, not nodes. So each node is compiled alone.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.errors import CompilationError, UnsupportedOperatorError
from ingot.targets.base import Target, Unsupported
from ingot.targets.relax.regions import DOMAIN


def failing_nodes(target: Target, model: ir.Model) -> list[Unsupported]:
    """Returns the nodes that the target cannot compile even alone, in graph order.

    Nodes that differ in names only are tried once.

    Args:
        target: The target.
        model: A graph each of whose operators has a lowering; not changed.
    """
    outcomes: dict[str, str | None] = {}
    found = []
    for node in model.graph:
        if node.domain == DOMAIN or node.op_type == "Constant":
            continue
        key = _kind(node)
        if key not in outcomes:
            outcomes[key] = _failure(target, model, node)
        reason = outcomes[key]
        if reason is not None:
            found.append(Unsupported(str(node.name), node.op_type, reason))
    return found


def _kind(node: ir.Node) -> str:
    """What tells a node from another as far as compiling goes."""
    values = [
        None if value is None else (str(value.dtype), str(value.shape), _constant(value))
        for value in node.inputs
    ]
    return f"{node.domain}:{node.op_type}:{sorted(map(str, node.attributes.values()))}:{values}"


def _constant(value: ir.Value) -> str:
    tensor = value.const_value
    if tensor is None:
        return ""
    return str(tensor.numpy().tolist()) if tensor.size <= 16 else str(value.name)


def _failure(target: Target, model: ir.Model, node: ir.Node) -> str | None:
    """Why a node cannot be compiled alone; None where it can."""
    inputs = [
        value
        for value in dict.fromkeys(node.inputs)
        if value is not None and not (value.is_initializer() and not value.is_graph_input())
    ]
    outputs = [value for value in node.outputs if value.name]
    graph = ir.convenience.extract(model.graph, inputs, outputs)
    alone = ir.Model(graph, ir_version=model.ir_version)
    try:
        target.try_lower(alone)
    except (UnsupportedOperatorError, CompilationError) as error:
        return str(error)
    return None
