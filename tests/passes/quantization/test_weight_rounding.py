"""Learned rounding, and the biases that go with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.errors import UsageError
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import CorrectBias, InsertQdq, LearnRounding
from ingot.passes.quantization.grid import round_to_grid, weight_scales
from ingot.passes.quantization.qdq import InsertQdqOptions
from ingot.passes.quantization.quantized_layer import quantized_layers
from ingot.passes.quantization.rounding import round_columns
from ingot.reference.session import Reference
from tests.passes.quantization.networks import (
    calibrated,
    images,
    model,
    normal,
    residual_network,
    sqnr,
)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_output_errs_less_than_with_the_nearest_integers(seed):
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(24, 24))
    inputs = generator.normal(size=(24, 400)).T @ mixing
    hessian = (inputs.T @ inputs / 400)[None]
    weights = generator.normal(size=(1, 12, 24))
    scales = weight_scales(weights[0], bits=4).astype(np.float64)

    def error(integers):
        difference = integers.reshape(12, 24) * scales[:, None] - weights[0]
        return float(((inputs @ difference.T) ** 2).sum())

    learned = round_columns(weights, scales[None], hessian, limit=7)
    assert np.abs(learned.astype(int)).max() <= 7
    assert error(learned) < error(round_to_grid(weights[0], scales, bits=4))


def test_groups_are_rounded_each_by_its_own_inputs():
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(3, 4, 5))
    scales = np.abs(weights).max(axis=2) / 127
    factors = generator.normal(size=(3, 5, 9))
    hessian = factors @ np.swapaxes(factors, 1, 2)
    together = round_columns(weights, scales, hessian)
    for group in range(3):
        one = slice(group, group + 1)
        alone = round_columns(weights[one], scales[one], hessian[one])
        np.testing.assert_array_equal(together[one], alone)


def test_channels_that_are_never_seen_do_not_break_it():
    hessian = np.zeros((1, 3, 3))
    integers = round_columns(np.ones((1, 2, 3)), np.full((1, 2), 1 / 127), hessian)
    np.testing.assert_array_equal(integers, np.full((1, 2, 3), 127))


@pytest.mark.parametrize("learner", [LearnRounding, CorrectBias])
def test_the_quantized_network_is_closer_to_the_float_one(learner):
    network = residual_network()
    data = images(64)
    plain = network.clone()
    calibrated(InsertQdq(), data)(plain)
    better = plain.clone()
    outcome = calibrated(learner(), data)(better)
    assert outcome.applied == 4
    check_graph(better)
    check_operators(better)
    fresh = images(64, seed=77)
    assert sqnr(network, better, fresh) > sqnr(network, plain, fresh) - 0.3


@pytest.mark.parametrize("learner", [LearnRounding, CorrectBias])
@pytest.mark.parametrize("bias", ["", ", b"])
def test_rounding_weights_does_not_move_the_mean_of_a_layers_output(learner, bias):
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        f"y = Conv(x, w{bias})",
        {
            "w": normal(4, 3, 1, 1),
            **({"b": normal(4, seed=1)} if bias else {}),
        },
    )
    data = [{"x": np.abs(normal(1, 3, 8, 8, seed=seed)) ** 3} for seed in range(12)]
    after = network.clone()
    calibrated(InsertQdq(), data)(after)
    calibrated(learner(), data)(after)
    check_graph(after)

    layer = next(quantized_layers(after, network))

    def mean(found, samples):
        runner = Reference(found)
        return np.mean([runner.run(one)["y"].mean(axis=(0, 2, 3)) for one in samples], axis=0)

    # What a range cuts off of the inputs themselves is not made good by a constant.
    scale = np.float32(layer.input_scale)
    seen = [{"x": np.minimum(np.rint(one["x"] / scale), 255) * scale} for one in data]
    step = layer.input_scale * layer.scales.max()  # of an integer bias
    np.testing.assert_allclose(mean(after, data), mean(network, seen), atol=step)


def test_a_product_without_a_bias_takes_the_one_added_behind_it():
    network = model(
        "(float[1,6,8] x) => (float[1,6,8] y)",
        "m = MatMul(x, w) y = Add(m, b)",
        {"w": normal(8, 8), "b": normal(8, seed=1)},
    )
    data = [{"x": np.abs(normal(1, 6, 8, seed=seed))} for seed in range(12)]
    after = network.clone()
    calibrated(InsertQdq(), data)(after)
    outcome = calibrated(CorrectBias(), data)(after)
    assert outcome.applied == 1
    bias = next(value for value in after.graph.initializers.values() if value.name == "b")
    assert not np.array_equal(bias.const_value.numpy(), network.graph.initializers["b"].const_value)


@pytest.mark.parametrize("learner", [LearnRounding, CorrectBias])
def test_a_product_without_a_bias_stays_without(learner):
    network = model(
        "(float[1,6,8] x) => (float[1,6,8] y)",
        "m = MatMul(x, w) r = Relu(m) y = MatMul(r, v)",
        {"w": normal(8, 8), "v": normal(8, 8, seed=1)},
    )
    data = [{"x": normal(1, 6, 8, seed=seed)} for seed in range(12)]
    after = network.clone()
    calibrated(InsertQdq(), data)(after)
    outcome = calibrated(learner(), data)(after)
    assert len(outcome.declined) == 2
    assert all(found.reason.startswith("it has no bias") for found in outcome.declined)
    check_graph(after)
    check_operators(after)
    assert sqnr(network, after, data) > 30


def test_moments_that_rounding_made_indefinite_are_rounded_to_nearest():
    hessian = np.array([[[1.0, 3.0], [3.0, 1.0]]])
    weights, scales = np.array([[[0.4, 0.6], [1.2, 2.4]]]), np.ones((1, 2))
    integers = round_columns(weights, scales, hessian)
    np.testing.assert_array_equal(integers, np.rint(weights))


def test_the_scales_of_weights_stay_as_they_were_chosen():
    network = residual_network()
    calibrated(InsertQdq(InsertQdqOptions(dense_scales="layer")), images())(network)
    before = [node.inputs[1].const_value.numpy() for node in weights_of(network)]
    calibrated(LearnRounding(), images())(network)
    after = [node.inputs[1].const_value.numpy() for node in weights_of(network)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def weights_of(network):
    """The DequantizeLinear of each layer's weights."""
    layers = [node for node in network.graph if node.op_type in ("Conv", "Gemm")]
    return [node.inputs[1].producer() for node in layers]


def test_on_a_float_graph_it_says_what_comes_first():
    with pytest.raises(UsageError, match=r"comes after 'quantization\.qdq'"):
        calibrated(LearnRounding()).call(residual_network())
