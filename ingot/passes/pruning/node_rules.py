"""What each operator says of the channels of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from ingot.passes.pruning import layer_rules, shape_rules
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.holding import couple_broadcast, hold_node

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
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow", "Where"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2"})
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
            hold_node(node, couplings, f"no rule for {node.op_type} ('{node.name}')")
        else:
            rule(node, couplings)
    return couplings


def _elementwise(node: ir.Node, couplings: Couplings) -> None:
    """Broadcast from the right; an axis of size one holds itself and nothing else."""
    output = node.outputs[0]
    reason = f"broadcasting of '{node.name}'"
    if output.shape is None:
        hold_node(node, couplings, f"the shape of '{output.name}' is unknown")
        return
    for value in node.inputs:
        if value is not None:
            couple_broadcast(value, output, couplings, reason)
    for axis in range(len(output.shape)):
        if output.shape[axis] == 1:
            couplings.hold(couplings.at(output, axis), reason)


def _batch_normalization(node: ir.Node, couplings: Couplings) -> None:
    x, output = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or output.shape is None or len(node.outputs) > 1:
        hold_node(node, couplings, f"the shape or the statistics of '{node.name}'")
        return
    reason = f"channels of '{node.name}'"
    for axis in range(len(x.shape)):
        couplings.couple(couplings.at(x, axis), couplings.at(output, axis), reason)
    for value in node.inputs[1:]:
        if value is not None:
            couplings.couple(couplings.at(value, 0), couplings.at(output, 1), reason)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY | _BINARY, _elementwise),
    **dict.fromkeys(_POOLS, layer_rules.pool),
    **dict.fromkeys(_REDUCTIONS, shape_rules.reduction),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), shape_rules.dimensions_of_one),
    **dict.fromkeys(("Softmax", "LogSoftmax"), shape_rules.along_one_axis),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), shape_rules.from_axis_on),
    "Attention": layer_rules.attention,
    "BatchNormalization": _batch_normalization,
    "Concat": shape_rules.concat,
    "Conv": layer_rules.convolution,
    "ConvTranspose": layer_rules.transposed_convolution,
    "Flatten": shape_rules.flatten,
    "Gather": shape_rules.gather,
    "Gemm": layer_rules.gemm,
    "MatMul": layer_rules.product,
    "Pad": shape_rules.image_edges,
    "Reshape": shape_rules.reshape,
    "Resize": shape_rules.resize,
    "Shape": shape_rules.shape,
    "Transpose": shape_rules.transpose,
}
