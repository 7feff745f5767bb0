"""Weights that are left make up for channels that went, as far as they say the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ingot.calibration.collection import Calibration
from ingot.errors import UsageError
from ingot.passes.pruning import PruneChannels
from ingot.passes.pruning.channels import PruneChannelsOptions
from ingot.passes.pruning.harm import order_by_harm
from ingot.passes.pruning.node_rules import couple_graph
from ingot.passes.pruning.selection import find_groups
from ingot.passes.pruning.sensitivity import OutputError
from tests.passes.pruning.networks import SIZE, network
from tests.passes.pruning.test_channels import run


def samples(count: int = 24) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(4, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(count)]


def duplicate(model: ir.Model, source: int, copy: int) -> ir.Value:
    """Makes a channel of the first layer a multiple of another; returns the layer's weights."""
    first = next(iter(model.graph))
    for value in first.inputs[1:]:
        array = value.const_value.numpy().copy()
        array[copy] = 2 * array[source]
        value.const_value = ir.tensor(array, name=value.name)
    return first.inputs[1]


def prune(model: ir.Model, **options: object) -> dict[str, object]:
    pass_ = PruneChannels(PruneChannelsOptions(multiple=1, **options))
    pass_.calibrate_with(Calibration(samples()))
    return dict(pass_(model).facts)


def test_a_channel_that_says_what_another_does_is_made_up_for():
    model = network(["conv"])
    duplicate(model, 1, 4)
    expected = run(model)
    prune(model, ratio=0.02, largest_share=0.2)
    weight = next(iter(model.graph)).inputs[1]
    assert weight.shape[0] == 5
    np.testing.assert_allclose(run(model), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_of_two_channels_that_say_the_same_one_goes_first_and_the_other_is_no_longer_cheap():
    model = network(["conv"])
    weight = duplicate(model, 1, 4)
    couplings = couple_graph(model.graph)
    groups = find_groups(model.graph, couplings)
    order_by_harm(model, couplings, groups, samples(), largest_share=0.9, multiple=1)
    roots = couplings.roots(couplings.at(weight, 0)).tolist()
    (group,) = (group for group in groups if roots[1] in group.channels)
    assert group.channels[0] in (roots[1], roots[4])
    assert group.channels[1] not in (roots[1], roots[4])
    assert group.importance[0] < 0.3 * group.importance[1]  # damping is what is left of it


@pytest.mark.parametrize(
    "kinds", [["conv", "norm", "activation"], ["gate", "residual"], ["depthwise"], ["grouped"]]
)
def test_what_is_solved_for_is_nearer_to_the_original_on_other_inputs(kinds):
    original = network(kinds, seed=7)
    expected = run(original)
    errors = []
    for compensate in (False, True):
        model = original.clone()
        facts = prune(model, ratio=0.2, compensate=compensate)
        assert facts["after"] < facts["before"]
        errors.append(float(np.square(run(model) - expected).mean()))
    assert errors[1] < errors[0]


def test_importance_sums_to_what_was_measured_at_the_outputs():
    model = network(["conv", "residual"])
    couplings = couple_graph(model.graph)
    groups = find_groups(model.graph, couplings)
    curves = order_by_harm(
        model,
        couplings,
        groups,
        samples(),
        largest_share=0.6,
        multiple=1,
        measure=OutputError(model, samples(4)),
    )
    for group, curve in zip(groups, curves, strict=True):
        highest = np.maximum.accumulate(curve.errors)
        sums = [sum(group.importance[:count]) for count in curve.counts]
        np.testing.assert_allclose(sums, highest, rtol=1e-6)
        assert all(error > 0 for error in curve.errors)


def test_the_facts_tell_each_group():
    facts = prune(network(["conv", "residual"]))
    assert facts["after"] <= 0.9 * facts["before"]
    for row in facts["groups"]:
        assert 0 <= row["removed"] < row["channels"]
        assert row["tensors"]
        assert len(row["measured"]["counts"]) == len(row["measured"]["errors"])


def test_harm_without_data_is_refused():
    with pytest.raises(UsageError, match="needs calibration data"):
        PruneChannels(PruneChannelsOptions(importance="harm"))(network(["conv"]))
