"""What layers with weights, pools and attention say of channels."""

from __future__ import annotations

import onnx_ir as ir

from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.holding import couple_broadcast, hold_node


def convolution(node: ir.Node, couplings: Couplings) -> None:
    """Columns are the input's channels and rows the output's; of groups, whole ones go."""
    x, weight = node.inputs[0], node.inputs[1]
    output = node.outputs[0]
    groups = node.attributes.get_int("group", 1)
    if x is None or weight is None or weight.shape is None or output.shape is None:
        hold_node(node, couplings, f"the shapes of '{node.name}' are unknown")
        return
    same_images(x, output, node, couplings)
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


def transposed_convolution(node: ir.Node, couplings: Couplings) -> None:
    """Weights are [input channels, output channels, ...]; one with groups stays."""
    x, weight = node.inputs[0], node.inputs[1]
    output = node.outputs[0]
    if x is None or weight is None or node.attributes.get_int("group", 1) != 1:
        hold_node(node, couplings, f"the groups of '{node.name}'")
        return
    same_images(x, output, node, couplings)
    reason = f"channels of '{node.name}'"
    couplings.couple(couplings.at(x, 1), couplings.at(weight, 0), reason)
    couplings.couple(couplings.at(weight, 1), couplings.at(output, 1), reason)
    for axis in range(2, len(weight.shape or ())):
        couplings.hold(couplings.at(weight, axis), f"the window of '{node.name}'")
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        couplings.couple(couplings.at(node.inputs[2], 0), couplings.at(output, 1), reason)


def same_images(x: ir.Value, output: ir.Value, node: ir.Node, couplings: Couplings) -> None:
    """The batch is that of the input, and rows and columns of the images stay."""
    couplings.couple(couplings.at(x, 0), couplings.at(output, 0), f"the batch of '{node.name}'")
    for value in (x, output):
        for axis in range(2, len(value.shape or ())):
            couplings.hold(couplings.at(value, axis), f"the image of '{node.name}'")


def pool(node: ir.Node, couplings: Couplings) -> None:
    """Channels stay apart."""
    x, output = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or output.shape is None or len(node.outputs) > 1:
        hold_node(node, couplings, f"the shape or the indices of '{node.name}'")
        return
    same_images(x, output, node, couplings)
    couplings.couple(couplings.at(x, 1), couplings.at(output, 1), f"channels of '{node.name}'")


def gemm(node: ir.Node, couplings: Couplings) -> None:
    """A product of matrices, either of which may be transposed, and a bias."""
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None:
        hold_node(node, couplings, f"operands of '{node.name}'")
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


def product(node: ir.Node, couplings: Couplings) -> None:
    """MatMul: the last axes are multiplied, those before broadcast."""
    left, right = node.inputs[0], node.inputs[1]
    output = node.outputs[0]
    shapes = [None if v is None else v.shape for v in (left, right, output)]
    if left is None or right is None or any(shape is None or len(shape) < 2 for shape in shapes):
        hold_node(node, couplings, f"vectors or unknown shapes of '{node.name}'")
        return
    reason = f"columns of '{node.name}'"
    couplings.couple(couplings.at(left, -1), couplings.at(right, -2), reason)
    couplings.couple(couplings.at(left, -2), couplings.at(output, -2), reason)
    couplings.couple(couplings.at(right, -1), couplings.at(output, -1), reason)
    for value in (left, right):
        couple_broadcast(value, output, couplings, reason, but_last=2)


def attention(node: ir.Node, couplings: Couplings) -> None:
    """Heads of queries, keys and values go together where they have an axis of their own."""
    first = [value for value in node.inputs[:3] if value is not None]
    plain = len(node.outputs) == 1 and not any(v is not None for v in node.inputs[4:])
    if not plain or any(v.shape is None or len(v.shape) != 4 for v in (*first, node.outputs[0])):
        hold_node(node, couplings, f"the form of '{node.name}'")
        return
    reason = f"heads of '{node.name}'"
    output = node.outputs[0]
    for value in first:
        couplings.couple(couplings.at(value, 0), couplings.at(output, 0), reason)
        couplings.couple(couplings.at(value, 1), couplings.at(output, 1), reason)
    for value in (*first, output):
        for axis in (2, 3):
            couplings.hold(couplings.at(value, axis), f"steps and features of '{node.name}'")
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if mask is None or mask.shape is None:
        return
    rank = len(mask.shape)
    for axis in range(rank):
        if rank == 4 and axis == 1 and mask.shape[1] != 1:
            couplings.couple(couplings.at(mask, 1), couplings.at(output, 1), reason)
        else:
            couplings.hold(couplings.at(mask, axis), f"the mask of '{node.name}'")
