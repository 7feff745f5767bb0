"""Recurrent layers whose batch comes first, spelled as what ONNX Runtime runs: steps first."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ingot.onnx_graph.edits import Names

_OPERATORS = frozenset({"GRU", "LSTM", "RNN"})
# What is read, and the states, by position.
_MOVED_INPUTS = (0, 5, 6)
_INPUT_ORDER = (1, 0, 2)
# All states, and the last ones.
_MOVED_OUTPUTS = ((2, 0, 1, 3), (1, 0, 2), (1, 0, 2))


def steps_first(model: ir.Model) -> ir.Model:
    """Returns the model with transposes around recurrent layers of layout 1.

    Args:
        model: The model; not changed, and returned as it is where it has none.
    """
    if not any(map(_is_batch_first, model.graph.all_nodes())):
        return model
    model = model.clone()
    names = Names(model)
    for node in list(model.graph.all_nodes()):
        if _is_batch_first(node):
            _move(node, names)
    return model


def _is_batch_first(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type not in _OPERATORS:
        return False
    return bool(node.attributes.get_int("layout", 0))


def _move(node: ir.Node, names: Names) -> None:
    assert node.graph is not None
    del node.attributes["layout"]
    for position in _MOVED_INPUTS:
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is not None:
            transpose = _transpose(value, _INPUT_ORDER, names)
            node.graph.insert_before(node, transpose)
            node.replace_input_with(position, transpose.outputs[0])
    for output, order in zip(node.outputs, _MOVED_OUTPUTS, strict=False):
        if not output.name:
            continue
        transpose = _transpose(output, order, names)
        (result,) = transpose.outputs
        node.graph.insert_after(node, transpose)
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        transpose.replace_input_with(0, output)
        # The result takes over the name, by which outputs and exposed values are asked for.
        kept, output.name = output.name, result.name
        result.name, result.type, result.shape = kept, output.type, output.shape
        output.shape = None


def _transpose(value: ir.Value, order: Sequence[int], names: Names) -> ir.Node:
    name = names.fresh(f"{value.name}_moved")
    return ir.node(
        "Transpose",
        [value],
        attributes={"perm": list(order)},
        outputs=[ir.Value(name=name)],
        name=names.fresh(f"{name}_transpose"),
    )
