"""Functions: those of a model are inlined, and operators that a target lacks become their bodies.

Many of ONNX's operators are defined by a graph of simpler ones. Where a target has a lowering of
its own for such an operator, it is kept, as it is faster in one piece.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx
import onnx_ir as ir
from onnx import defs, inliner
from onnx_ir.passes.common import InlinePass

from ingot.onnx_graph.edits import Names
from ingot.onnx_graph.protos import read_proto

# Says whether a target lowers an operator, by domain and type.
Knows = Callable[[str, str], bool]


def inline_functions(model: ir.Model) -> None:
    """Inlines the functions that a model defines, in place."""
    if model.functions:
        InlinePass()(model)


def expand_operators(model: ir.Model, knows: Knows) -> int:
    """Replaces operators that a target lacks by the bodies that ONNX defines, in place.

    An operator is left as it is where its body needs what the target lacks as well.

    Args:
        model: A model with shapes inferred; bodies depend on types.
        knows: What the target lowers.

    Returns:
        How many nodes were replaced.
    """
    wanted = [("", operator) for operator in _operators_with_bodies() if not knows("", operator)]
    names = Names(model)
    expanded = 0
    for node in list(model.graph.all_nodes()):
        if (node.domain, node.op_type) not in wanted:
            continue
        body = _body(node, model.opset_imports.get("", 1), wanted)
        if body is None or not all(knows(n.domain, n.op_type) for n in body.all_nodes()):
            continue
        _replace(node, body, names)
        expanded += 1
    return expanded


@functools.cache
def _operators_with_bodies() -> tuple[str, ...]:
    """Operators of ONNX's own domain that some opset defines by a body."""
    return tuple(
        sorted(
            {
                schema.name
                for schema in defs.get_all_schemas_with_history()
                if schema.domain == ""
                and (
                    schema.has_function  # type: ignore[attr-defined]
                    or schema.has_context_dependent_function  # type: ignore[attr-defined]
                )
            }
        )
    )


def _body(node: ir.Node, opset: int, wanted: list[tuple[str, str]]) -> ir.Graph | None:
    """The body of a node with its attributes and types put in; None where there is none."""
    inputs = dict.fromkeys(value for value in node.inputs if value is not None)
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [ir.serde.serialize_node(node)],
            "body",
            [ir.serde.serialize_value(value) for value in inputs],
            [ir.serde.serialize_value(value) for value in node.outputs if value.name],
        ),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=10,
    )
    try:
        inlined = inliner.inline_selected_functions(proto, wanted, inline_schema_functions=True)
    except Exception:  # noqa: BLE001
        # It raises errors of its own from C++, for types that a body does not take.
        return None
    if [found.op_type for found in inlined.graph.node] == [node.op_type]:
        return None
    return read_proto(inlined).graph


def _replace(node: ir.Node, body: ir.Graph, names: Names) -> None:
    """Puts the nodes of a body in a node's place; outputs keep their names."""
    graph = node.graph
    assert graph is not None
    outer = {value.name: value for value in node.inputs if value is not None}
    for value in list(body.inputs):
        value.replace_all_uses_with(outer[value.name])
    computed = {value.name: value for inner in body for value in inner.outputs}
    results = [(old, computed.get(old.name)) for old in node.outputs]
    nodes = list(body)
    body.outputs.clear()
    body.remove(nodes)
    for inner in nodes:
        inner.name = names.fresh(f"{node.name}/{inner.op_type}")
        for value in inner.outputs:
            value.name = names.fresh(f"{node.name}/{value.name}")
    graph.insert_before(node, nodes)
    for old, new in results:
        if new is not None:
            name, new.type, new.shape = old.name, old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name, new.name = f"{name}/replaced", name
    graph.remove(node, safe=True)
