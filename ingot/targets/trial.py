"""Finding the nodes that make a graph fail, where the failure itself does not name them.

TVM's passes and LLVM see kernels, not nodes. So each node is lowered alone.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.errors import CompilationError, UnsupportedOperatorError
from ingot.targets.base import Target, Unsupported
from ingot.targets.partition import is_weight, read_values
from ingot.targets.relax.regions import DOMAIN

# Larger constants are weights, whose values do not matter.
_MOST_ELEMENTS = 16
# Machine code of a node takes up to a second; a graph of more kinds of nodes is left as a whole.
_MOST_KINDS = 40


def failing_nodes(target: Target, model: ir.Model) -> list[Unsupported]:
    """Returns the nodes that the target cannot compile even alone, in graph order.

    Nodes that differ in names only are tried once; machine code is tried where nothing before it
    fails.

    Args:
        target: The target.
        model: A graph each of whose operators has a lowering; not changed.
    """
    nodes = [n for n in model.graph if n.domain != DOMAIN and n.op_type != "Constant"]
    kinds = {node: _kind(node) for node in nodes}
    found = _failing(target, model, kinds, machine_code=False)
    if not found and len(set(kinds.values())) <= _MOST_KINDS:
        found = _failing(target, model, kinds, machine_code=True)
    return found


def _failing(
    target: Target, model: ir.Model, kinds: dict[ir.Node, str], *, machine_code: bool
) -> list[Unsupported]:
    outcomes: dict[str, str | None] = {}
    for node, kind in kinds.items():
        if kind not in outcomes:
            outcomes[kind] = _failure(target, model, node, machine_code=machine_code)
    reasons = ((node, outcomes[kind]) for node, kind in kinds.items())
    return [
        Unsupported(str(node.name), node.op_type, reason)
        for node, reason in reasons
        if reason is not None
    ]


def _kind(node: ir.Node) -> str:
    """What tells a node from another as far as compiling goes."""
    symbols: dict[str | None, int] = {}
    values = [None if value is None else _described(value, symbols) for value in node.inputs]
    attributes = sorted(map(str, node.attributes.values()))
    return f"{node.domain}:{node.op_type}:{attributes}:{values}"


def _described(value: ir.Value, symbols: dict[str | None, int]) -> str:
    """A value's type, symbols by the order in which they come, and small contents."""
    sizes = [
        size if isinstance(size, int) else f"s{symbols.setdefault(size.value, len(symbols))}"
        for size in value.shape or ()
    ]
    tensor = value.const_value
    small = tensor is not None and tensor.size <= _MOST_ELEMENTS
    contents = str(tensor.numpy().tolist()) if tensor is not None and small else tensor is not None
    return f"{value.dtype}{sizes}{value.shape is None}{contents}"


def _failure(target: Target, model: ir.Model, node: ir.Node, *, machine_code: bool) -> str | None:
    """Why a node cannot be compiled alone; None where it can."""
    inputs = [value for value in read_values(node) if not is_weight(value)]
    outputs = [value for value in node.outputs if value.name]
    graph = ir.convenience.extract(model.graph, inputs, outputs)
    alone = ir.Model(graph, ir_version=model.ir_version)
    try:
        target.try_lower(alone, machine_code=machine_code)
    except UnsupportedOperatorError as error:
        return str(error)
    except CompilationError:
        open_sizes = any(value.shape is None or not value.shape.is_static() for value in inputs)
        return f"no code can be generated for it{' with these open sizes' if open_sizes else ''}"
    return None
