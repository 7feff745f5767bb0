"""Values whose channels can be scaled together without changing what a network computes.

Scaling channel c of a value by 1/s_c is undone by weights that multiply that channel by s_c. On the
way, operators that commute with a positive factor per channel (sums, pooling, ReLU, a gate) hand it
on, and where the value comes from another operator, a multiplication by a constant vector begins
it.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ingot.onnx_graph.matching import constant_tensor, rank, static_dim
from ingot.passes.quantization.linear import LinearLayer, linear_layer
from ingot.passes.quantization.placement import gate_position

_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "Identity"})


@dataclasses.dataclass
class ChannelGroup:
    """Values that carry one factor per channel, and where it begins and ends.

    Attributes:
        values: The values, [N, C, ...].
        producers: Convolutions whose output channels take the factor.
        insertions: Values that a multiplication by a vector has to scale.
        consumers: Layers whose input channels undo the factor.
    """

    values: list[ir.Value] = dataclasses.field(default_factory=list)
    producers: list[LinearLayer] = dataclasses.field(default_factory=list)
    insertions: list[ir.Value] = dataclasses.field(default_factory=list)
    consumers: list[LinearLayer] = dataclasses.field(default_factory=list)


class Unscalable(Exception):  # noqa: N818 - it ends a search, it is no error
    """Ends the search for a group that cannot be scaled; carries the reason."""


def channel_group(value: ir.Value) -> ChannelGroup:
    """The group of a value of at least three dimensions, channels along axis 1.

    Raises:
        Unscalable: Something reads or computes a value of the group that does not commute with a
            factor per channel.
    """
    group = ChannelGroup()
    pending, seen = [value], {value}
    while pending:
        found = pending.pop()
        group.values.append(found)
        for other in (*_tied_by_producer(found, group), *_tied_by_readers(found, group)):
            if other not in seen:
                seen.add(other)
                pending.append(other)
    # Values computed within the group carry the factor already.
    group.insertions = [v for v in group.insertions if v in seen]
    return group


def _tied_by_producer(value: ir.Value, group: ChannelGroup) -> list[ir.Value]:
    node = value.producer()
    if node is None:
        raise Unscalable(f"'{value.name}' is an input of the graph")
    if node.domain == "":
        layer = linear_layer(node)
        if layer is not None and node.op_type == "Conv" and _constant_bias(layer):
            group.producers.append(layer)
            return []
        tied = _tied_operands(node)
        if tied is not None:
            return tied
    group.insertions.append(value)
    return []


def _tied_by_readers(value: ir.Value, group: ChannelGroup) -> list[ir.Value]:
    if value.is_graph_output():
        raise Unscalable(f"'{value.name}' is an output of the graph")
    tied = []
    for use in value.uses():
        node = use.node
        layer = linear_layer(node) if node.domain == "" else None
        if layer is not None and use.idx == 0 and _reads_channels(layer):
            if layer not in group.consumers:
                group.consumers.append(layer)
            continue
        operands = _tied_operands(node) if node.domain == "" else None
        if operands is None or value not in operands:
            raise Unscalable(f"'{node.name}' ({node.op_type}) reads '{value.name}'")
        tied += [node.outputs[0], *operands]
    return tied


def _tied_operands(node: ir.Node) -> list[ir.Value] | None:
    """The inputs of a node that carry the factor of its output; None if it does not commute."""
    first = node.inputs[0] if node.inputs else None
    if first is None or len(node.outputs) != 1:
        return None
    if node.op_type in _POOLS or node.op_type in _HOMOGENEOUS:
        return [first]
    if node.op_type == "ReduceMean":
        return [first] if _reduces_space(node) else None
    if node.op_type == "Flatten":
        flat = node.attributes.get_int("axis", 1) == 1
        pointwise = all(static_dim(first, axis) == 1 for axis in range(2, rank(first) or 0))
        return [first] if flat and pointwise and (rank(first) or 0) > 2 else None
    if node.op_type == "Add":
        operands = [value for value in node.inputs if value is not None]
        same_rank = {rank(value) for value in operands} == {rank(node.outputs[0])}
        same_channels = len({static_dim(value, 1) for value in operands}) == 1
        constants = any(constant_tensor(value) is not None for value in operands)
        return operands if same_rank and same_channels and not constants else None
    if node.op_type == "Mul":
        gate = gate_position(node)
        scaled = None if gate is None else node.inputs[1 - gate]
        return None if scaled is None else [scaled]
    return None


def _reduces_space(node: ir.Node) -> bool:
    axes = constant_tensor(node.inputs[1]) if len(node.inputs) > 1 else None
    size = rank(node.inputs[0])
    if axes is None or size is None:
        return False
    reduced = {int(axis) % size for axis in axes.numpy().reshape(-1)}
    return reduced == set(range(2, size)) and node.attributes.get_int("keepdims", 1) == 1


def _constant_bias(layer: LinearLayer) -> bool:
    return layer.bias is None or layer.constant_bias() is not None


def _reads_channels(layer: LinearLayer) -> bool:
    """Whether axis 1 of a layer's input is what its weights sum over."""
    return layer.node.op_type == "Conv" or rank(layer.activation) == 2
