"""What of a model can be pruned: its groups of channels, and why others stay."""

from __future__ import annotations

import dataclasses
import math

import onnx_ir as ir

from ingot.onnx_graph.matching import constant_tensor
from ingot.passes.base import Declined
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.node_rules import couple_graph
from ingot.passes.pruning.selection import Group, find_groups, saved_by, weights_of
from ingot.passes.pruning.work import multiply_adds, parameters

# Of what layers with weights compute.
_CHANNEL_AXES = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}


@dataclasses.dataclass(frozen=True)
class GroupFacts:
    """A group of channels that go one by one, each from all of the group's layers.

    Attributes:
        written_by: The layers and tables whose output the channels are, by name.
        read_by: The layers that read them.
        channels: How many there are.
        parameters: The parameters that one channel takes, while the other groups are whole.
        multiply_adds: The same of multiply-adds; open sizes count as one.
    """

    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    channels: int
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Overview:
    """What of a model can be pruned.

    Attributes:
        groups: Its groups of channels.
        held: The layers whose output channels stay, and why.
        parameters: All parameters of the model.
        multiply_adds: All multiply-adds of its layers.
    """

    groups: tuple[GroupFacts, ...]
    held: tuple[Declined, ...]
    parameters: int
    multiply_adds: int


def overview(graph: ir.Graph) -> Overview:
    """Describes the groups of a graph's channels."""
    couplings = couple_graph(graph)
    weights = weights_of(graph)
    counts = parameters(weights), multiply_adds(weights)
    sizes = {value: list(value.const_value.shape.numpy()) for value in weights if value.const_value}
    totals = (
        sum(times * math.prod(sizes[value]) for value, times in work.items()) for work in counts
    )
    groups = tuple(
        GroupFacts(
            *_layers(group),
            len(group.channels),
            *(int(saved_by(group, 1, sizes, work)) for work in counts),
        )
        for group in find_groups(graph, couplings)
    )
    return Overview(groups, tuple(held_layers(graph, couplings)), *map(int, totals))


def held_layers(graph: ir.Graph, couplings: Couplings) -> list[Declined]:
    """The layers whose output channels all stay, and why."""
    declined = []
    for node in graph:
        axis = _CHANNEL_AXES.get(node.op_type) if node.domain == "" else None
        if axis is None or constant_tensor(node.inputs[1]) is None:
            continue
        positions = couplings.at(node.outputs[0], axis)
        if positions is None:
            continue
        reasons = [couplings.reason(root) for root in couplings.roots(positions).tolist()]
        if reasons and all(reasons):
            declined.append(Declined(node.name or "", f"its channels stay: {reasons[0]}"))
    return declined


def _layers(group: Group) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who writes the channels of a group and who reads them, in the graph's order."""
    writers: dict[str, None] = {}
    readers: dict[str, None] = {}
    for value, axis in group.axes:
        for use in value.uses():
            node = use.node
            if use.idx != (0 if node.op_type == "Gather" else 1):
                continue
            if node.op_type == "Gather" or node.op_type in _CHANNEL_AXES:
                names = writers if axis == _row_axis(node) else readers
                names.setdefault(str(node.name))
    return tuple(writers), tuple(readers)


def _row_axis(node: ir.Node) -> int:
    """The axis of a weight along which the channels of the output lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 1 - int(node.attributes.get_int("transB", 0) != 0)
    return 1
