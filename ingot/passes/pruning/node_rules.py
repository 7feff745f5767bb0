"""What each operator says of the channels of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ingot.passes.pruning.couplings import Couplings

# Each element of the output depends on the same element of the only tensor that is no scalar.
_UNARY = frozenset(
    {
        "Abs",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tanh",
        "ThresholdedRelu",
    }
)
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow"})
_POOLS = frozenset({"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"})

Rule = Callable[[ir.Node, Couplings], None]


def couple_graph(graph: ir.Graph) -> Couplings:
    """Which channels of a graph go together; those of its inputs and outputs stay."""
    couplings = Couplings()
    for value in (*graph.inputs, *graph.outputs):
        couplings.hold_all(value, "it is an input or an output of the model")
    for node in graph:
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is None:
            _hold_node(node, couplings, f"no rule for {node.op_type} ('{node.name}')")
        else:
            rule(node, couplings)
    return couplings


def _hold_node(node: ir.Node, couplings: Couplings, reason: str) -> None:
    for value in (*node.inputs, *node.outputs):
        couplings.hold_all(value, reason)
    for graph in _bodies(node):  # they may read what is outside of them
        for inner in graph.all_nodes():
            for value in (*inner.inputs, *inner.outputs):
                couplings.hold_all(value, reason)
        for value in graph.outputs:
            couplings.hold_all(value, reason)


def _bodies(node: ir.Node) -> list[ir.Graph]:
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    return bodies


def _elementwise(node: ir.Node, couplings: Couplings) -> None:
    """Broadcast from the right; an axis of size one holds itself and nothing else."""
    output = node.outputs[0]
    reason = f"broadcasting of '{node.name}'"
    if output.shape is None:
        _hold_node(node, couplings, f"the shape of '{output.name}' is unknown")
        return
    for value in node.inputs:
        if value is None:
            continue
        if value.shape is None:
            couplings.hold_all(output, f"the shape of '{value.name}' is unknown")
            continue
        for axis in range(-len(value.shape), 0):
            if value.shape[axis] == 1:
                couplings.hold(couplings.at(value, axis), reason)
            else:
                couplings.couple(couplings.at(value, axis), couplings.at(output, axis), reason)
    for axis in range(len(output.shape)):
        if output.shape[axis] == 1:
            couplings.hold(couplings.at(output, axis), reason)


def _convolution(node: ir.Node, couplings: Couplings) -> None:
    x, weight = node.inputs[0], node.inputs[1]
    output = node.outputs[0]
    groups = node.attributes.get_int("group", 1)
    if x is None or weight is None or weight.shape is None or output.shape is None:
        _hold_node(node, couplings, f"the shapes of '{node.name}' are unknown")
        return
    _same_images(x, output, node, couplings)
    for axis in range(2, len(weight.shape)):
        couplings.hold(couplings.at(weight, axis), f"the window of '{node.name}'")
    reason = f"channels of '{node.name}'"
    rows = couplings.at(weight, 0)
    couplings.couple(rows, couplings.at(output, 1), reason)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        couplings.couple(rows, couplings.at(node.inputs[2], 0), reason)
    channels = couplings.at(x, 1)
    if groups == 1:
        couplings.couple(channels, couplings.at(weight, 1), reason)
        return
    couplings.hold(couplings.at(weight, 1), f"columns of a group of '{node.name}'")
    if rows is None or channels is None or len(channels) % groups or len(rows) % groups:
        couplings.hold(rows, reason)
        couplings.hold(channels, reason)
        return
    for run, first in ((channels, 0), (rows, 0)):
        for column in run.reshape(groups, -1).T:
            couplings.couple(column, channels.reshape(groups, -1)[:, first], reason)


def _same_images(x: ir.Value, output: ir.Value, node: ir.Node, couplings: Couplings) -> None:
    """The batch is that of the input, and rows and columns of the images stay."""
    couplings.couple(couplings.at(x, 0), couplings.at(output, 0), f"the batch of '{node.name}'")
    for value in (x, output):
        for axis in range(2, len(value.shape or ())):
            couplings.hold(couplings.at(value, axis), f"the image of '{node.name}'")


def _pool(node: ir.Node, couplings: Couplings) -> None:
    x, output = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or output.shape is None or len(node.outputs) > 1:
        _hold_node(node, couplings, f"the shape or the indices of '{node.name}'")
        return
    _same_images(x, output, node, couplings)
    couplings.couple(couplings.at(x, 1), couplings.at(output, 1), f"channels of '{node.name}'")


def _batch_normalization(node: ir.Node, couplings: Couplings) -> None:
    x, output = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or output.shape is None or len(node.outputs) > 1:
        _hold_node(node, couplings, f"the shape or the statistics of '{node.name}'")
        return
    reason = f"channels of '{node.name}'"
    for axis in range(len(x.shape)):
        couplings.couple(couplings.at(x, axis), couplings.at(output, axis), reason)
    for value in node.inputs[1:]:
        if value is not None:
            couplings.couple(couplings.at(value, 0), couplings.at(output, 1), reason)


def _concat(node: ir.Node, couplings: Couplings) -> None:
    output = node.outputs[0]
    if output.shape is None or any(v is None or v.shape is None for v in node.inputs):
        _hold_node(node, couplings, f"the shapes of '{node.name}' are unknown")
        return
    axis = node.attributes.get_int("axis", 0) % len(output.shape)
    pieces = [couplings.at(value, axis) for value in node.inputs if value is not None]
    known = [piece for piece in pieces if piece is not None]
    reason = f"pieces of '{node.name}'"
    if len(known) == len(pieces):
        couplings.couple(np.concatenate(known), couplings.at(output, axis), reason)
    else:
        for piece in (*known, couplings.at(output, axis)):
            couplings.hold(piece, reason)
    for value in node.inputs:
        for other in range(len(output.shape)):
            if value is not None and other != axis:
                couplings.couple(couplings.at(value, other), couplings.at(output, other), reason)


def _flatten(node: ir.Node, couplings: Couplings) -> None:
    """Behind the batch: each channel becomes as many columns as its image has elements."""
    x, output = node.inputs[0], node.outputs[0]
    shape = None if x is None else x.shape
    if x is None or shape is None or node.attributes.get_int("axis", 1) != 1 or len(shape) < 2:
        _hold_node(node, couplings, f"the axis or the shape of '{node.name}'")
        return
    couplings.couple(couplings.at(x, 0), couplings.at(output, 0), f"the batch of '{node.name}'")
    channels, sizes = couplings.at(x, 1), [size for size in shape[2:] if isinstance(size, int)]
    reason = f"the image of '{node.name}'"
    if channels is None or len(sizes) != len(shape) - 2:
        _hold_node(node, couplings, reason)
        return
    repeated = np.repeat(channels, int(np.prod(sizes)))
    couplings.couple(repeated, couplings.at(output, 1), reason)
    for axis in range(2, len(shape)):
        couplings.hold(couplings.at(x, axis), reason)


def _gemm(node: ir.Node, couplings: Couplings) -> None:
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None:
        _hold_node(node, couplings, f"operands of '{node.name}'")
        return
    output, reason = node.outputs[0], f"columns of '{node.name}'"
    across = node.attributes.get_int("transA", 0), node.attributes.get_int("transB", 0)
    couplings.couple(couplings.at(left, across[0]), couplings.at(output, 0), reason)
    couplings.couple(couplings.at(left, 1 - across[0]), couplings.at(right, across[1]), reason)
    couplings.couple(couplings.at(right, 1 - across[1]), couplings.at(output, 1), reason)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and bias.shape is not None:
        for axis in range(-len(bias.shape), 0):
            if bias.shape[axis] == 1:
                couplings.hold(couplings.at(bias, axis), reason)
                couplings.hold(couplings.at(output, axis), reason)
            else:
                couplings.couple(couplings.at(bias, axis), couplings.at(output, axis), reason)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY | _BINARY, _elementwise),
    **dict.fromkeys(_POOLS, _pool),
    "BatchNormalization": _batch_normalization,
    "Concat": _concat,
    "Conv": _convolution,
    "Flatten": _flatten,
    "Gemm": _gemm,
}
