"""What can be pruned: groups, what a channel of each takes, and why other layers stay."""

from __future__ import annotations

import math

import pytest

from ingot.passes.pruning.node_rules import couple_graph
from ingot.passes.pruning.overview import overview
from ingot.passes.pruning.removal import remove_channels
from ingot.passes.pruning.selection import find_groups
from tests.passes.pruning.networks import network, sequence_network


@pytest.mark.parametrize(
    "model",
    [network(["residual", "gate", "depthwise", "concat"]), sequence_network(["attention"], 3)],
    ids=["images", "sequences"],
)
def test_what_a_channel_takes_is_what_goes_with_it(model):
    found = overview(model.graph)
    for number, facts in enumerate(found.groups):
        pruned = model.clone()
        couplings = couple_graph(pruned.graph)
        group = find_groups(pruned.graph, couplings)[number]
        assert facts.channels == len(group.channels)
        remove_channels(pruned, couplings, {group.channels[0]})
        left = overview(pruned.graph)
        assert found.parameters - left.parameters == facts.parameters
        assert found.multiply_adds - left.multiply_adds == facts.multiply_adds


def test_multiply_adds_are_those_of_layers():
    model = network([])
    found = overview(model.graph)
    first, head = 6 * 3 * 9, 5 * 6 * 16
    assert found.multiply_adds == first * 16 + head
    weights = model.graph.initializers.values()
    assert found.parameters == sum(math.prod(value.shape) for value in weights)


def test_layers_that_write_and_read_a_group_are_named():
    model = network(["residual"])
    found = overview(model.graph)
    addition = next(node for node in model.graph if node.op_type == "Add")
    outer = next(one for one in found.groups if "head" in one.read_by)
    assert addition.inputs[1].producer().name in outer.written_by
    assert len(outer.written_by) == 2
    inner = next(one for one in found.groups if one is not outer)
    assert (len(inner.written_by), len(inner.read_by)) == (1, 1)


def test_layers_that_stay_are_told_with_the_reason():
    (held,) = overview(network(["conv"]).graph).held
    assert held.node == "head"
    assert held.reason == "its channels stay: it is an input or an output of the model"
