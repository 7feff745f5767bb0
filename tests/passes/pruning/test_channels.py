"""Channels that go: what is left equals the model that reads zero in their place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.passes.base import LOSSY
from ingot.passes.manager import PassManager
from ingot.passes.pruning import PruneChannels
from ingot.passes.pruning.channels import PruneChannelsOptions
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.node_rules import couple_graph
from ingot.passes.pruning.removal import remove_channels
from ingot.passes.pruning.selection import choose_channels, find_groups, weights_of
from ingot.passes.pruning.work import parameters as work_of_parameters
from tests.passes.pruning.networks import (
    STEPS,
    WIDTH,
    network,
    networks,
    sequence_network,
    sequence_networks,
)


def run(model: ir.Model) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    sizes = [2, *model.graph.inputs[0].shape[1:]]
    x = np.random.default_rng(5).normal(size=sizes).astype(np.float32)
    (y,) = session.run(None, {"x": x})
    return y


def zero_columns(model: ir.Model, couplings: Couplings, removed: set[int]) -> None:
    """Makes the layers that join channels read zero of those removed."""
    for node in model.graph:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.inputs[1].const_value is None:
            continue
        if node.attributes.get_int("group", 1) > 1:
            continue
        weight = node.inputs[1]
        array = weight.const_value.numpy().copy()
        axis = 0 if node.op_type == "MatMul" else 1
        positions = couplings.at(weight, axis)
        lost = [root in removed for root in couplings.roots(positions).tolist()]
        np.moveaxis(array, axis, 0)[lost] = 0
        weight.const_value = ir.tensor(array, name=weight.name)


def parameters(model: ir.Model) -> int:
    return sum(value.const_value.size for value in model.graph.initializers.values())


@settings(max_examples=60, deadline=None)
@given(networks | sequence_networks, st.randoms(use_true_random=False))
def test_removing_channels_is_reading_zero_in_their_place(model, random):
    couplings = couple_graph(model.graph)
    groups = find_groups(model.graph, couplings)
    removed: set[int] = set()
    for group in groups:
        removed |= set(random.sample(group.channels, random.randint(0, len(group.channels) - 1)))
    zeroed = model.clone()
    zero_columns(zeroed, couple_graph(zeroed.graph), removed)
    expected = run(zeroed)
    remove_channels(model, couplings, removed)
    np.testing.assert_allclose(run(model), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(6))
def test_whole_heads_of_attention_go(seed):
    model = sequence_network(["attention"], seed)
    couplings = couple_graph(model.graph)
    groups = find_groups(model.graph, couplings)
    (heads,) = (group for group in groups if len(group.axes) == 7)
    width = heads.axes[next(iter(heads.axes))]
    assert len(heads.channels) * width == WIDTH
    before = [value.shape for value in model.graph.outputs]
    remove_channels(model, couplings, {heads.channels[0]})
    projections = [n for n in model.graph if n.op_type == "MatMul" and n.inputs[1].const_value]
    sizes = [tuple(node.inputs[1].shape) for node in projections]
    assert sizes.count((7, WIDTH - width)) == 3
    assert (WIDTH - width, 7) in sizes
    assert [value.shape for value in model.graph.outputs] == before
    assert run(model).shape == (2, STEPS, 5)


def test_what_a_feed_forward_layer_computes_inside_may_go_and_the_width_of_a_norm_stays():
    model = sequence_network(["feed-forward", "norm"])
    couplings = couple_graph(model.graph)
    (inner,) = find_groups(model.graph, couplings)
    assert len(inner.channels) == 9
    (norm,) = (node for node in model.graph if node.op_type == "LayerNormalization")
    (reason,) = {couplings.reason(r) for r in couplings.roots(couplings.at(norm.inputs[0], 2))}
    assert norm.name in reason


@settings(max_examples=10, deadline=None)
@given(networks | sequence_networks)
def test_a_pruned_network_is_valid_and_has_the_shapes_that_it_says(model):
    before = parameters(model)
    outputs = [(value.name, value.shape) for value in model.graph.outputs]
    shape = run(model).shape
    pass_ = PruneChannels(PruneChannelsOptions(multiple=1, ratio=0.05))
    (record,) = PassManager([pass_]).run(model).records
    assert (record.applied > 0) == (parameters(model) < before)
    assert record.facts["after"] <= record.facts["before"]
    for value in ir.from_proto(ir.to_proto(model)).graph.initializers.values():
        assert tuple(value.shape) == value.const_value.numpy().shape
    assert [(value.name, value.shape) for value in model.graph.outputs] == outputs
    assert run(model).shape == shape


def test_whole_groups_of_a_grouped_layer_go():
    model = network(["grouped"])
    couplings = couple_graph(model.graph)
    (grouped,) = (node for node in model.graph if node.attributes.get_int("group", 1) > 1)
    rows = couplings.roots(couplings.at(grouped.inputs[1], 0)).tolist()
    assert len(set(rows)) == 3
    remove_channels(model, couplings, {rows[0]})
    assert grouped.attributes.get_int("group") == 2
    assert tuple(grouped.inputs[1].shape) == (8, 2, 3, 3)
    assert grouped.inputs[0].shape[1] == 4


def test_a_residual_addition_couples_the_layers_before_it():
    model = network(["residual"])
    couplings = couple_graph(model.graph)
    (addition,) = (node for node in model.graph if node.op_type == "Add")
    before = [couplings.roots(couplings.at(value, 1)).tolist() for value in addition.inputs]
    assert before[0] == before[1]


def test_channels_that_an_operator_without_a_rule_reads_stay_and_the_reason_is_told():
    model = network(["conv"])
    (head,) = (node for node in model.graph if node.op_type == "Gemm")
    flat = head.inputs[0]
    hardmax = ir.node("Hardmax", [flat], name="hardmax")
    hardmax.outputs[0].shape, hardmax.outputs[0].type = flat.shape, flat.type
    hardmax.outputs[0].name = "hardmax_out"
    model.graph.insert_before(head, hardmax)
    head.replace_input_with(0, hardmax.outputs[0])
    outcome = PruneChannels(PruneChannelsOptions(multiple=1))(model)
    reasons = {one.node: one.reason for one in outcome.declined}
    assert "its channels stay: no rule for Hardmax ('hardmax')" in reasons.values()
    assert reasons["head"] == "its channels stay: it is an input or an output of the model"


def test_the_channels_of_the_least_norm_go_first():
    model = network([], seed=3)
    weight = next(iter(model.graph)).inputs[1]
    array = weight.const_value.numpy().copy()
    array[2] *= 1e-3
    weight.const_value = ir.tensor(array, name=weight.name)
    couplings = couple_graph(model.graph)
    (group,) = find_groups(model.graph, couplings)
    columns = couplings.roots(couplings.at(weight, 0)).tolist()
    relative = np.square(array).sum(axis=(1, 2, 3))
    assert columns[2] in group.channels[:3]
    assert relative.argmin() == 2
    assert group.importance == sorted(group.importance)


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_what_is_left_is_a_multiple(multiple):
    model = network(["conv", "conv"])
    couplings = couple_graph(model.graph)
    groups = find_groups(model.graph, couplings)
    work = work_of_parameters(weights_of(model.graph))
    choice = choose_channels(groups, work, work, 0.2, multiple, largest_share=0.9)
    removed = choice.channels
    assert removed
    assert choice.before == parameters(model)
    remove_channels(model, couplings, removed)
    assert parameters(model) == choice.after
    for group in groups:
        kept = len(group.channels) - len(removed & set(group.channels))
        assert kept == len(group.channels) or kept % multiple == 0
        assert kept > 0


def test_the_pass_is_lossy():
    assert PruneChannels.tolerance is LOSSY
