"""Walking a model layer by layer gives what a run of the whole gives."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ingot.passes.quantization.linear import linear_layers
from ingot.passes.quantization.moments import moments
from ingot.passes.quantization.walk import Walk, patches_of
from ingot.reference.session import Reference
from tests.passes.quantization.networks import images, model, normal, residual_network


def test_each_layers_input_is_that_of_a_whole_run():
    network, data = residual_network(), images(3)
    layers = list(linear_layers(network.graph))
    names = [str(layer.activation.name) for layer in layers]
    whole = Reference(network, expose=[name for name in names if name != "x"])
    walk = Walk(network, data)
    for layer in layers:
        for one, found in zip(data, walk.before(layer.node, layer.activation), strict=True):
            name = str(layer.activation.name)
            expected = one[name] if name == "x" else whole.run(one, [name])[name]
            np.testing.assert_array_equal(found, expected)


def test_what_was_changed_on_the_way_is_seen_behind_it():
    network, data = residual_network(), images(2)
    first, second = list(linear_layers(network.graph))[:2]
    walk = Walk(network, data)
    walk.before(first.node, first.activation)
    network.graph.initializers["b1"].const_value = constant(8, -100.0)
    for found in walk.before(second.node, second.activation):
        assert (found == 0).all()


def constant(size, value):
    return ir.tensor(np.full(size, value, np.float32), name="b1")


@pytest.mark.parametrize(
    "attributes",
    [
        "pads=[1,1,1,1]",
        "strides=[2,2], pads=[0,1,1,0]",
        "dilations=[2,2]",
        'auto_pad="SAME_UPPER", strides=[2,2]',
        'auto_pad="SAME_LOWER"',
        'auto_pad="VALID"',
    ],
)
def test_patches_times_weights_are_the_convolution(attributes):
    weights = normal(5, 3, 3, 2)
    network = model(
        "(float[2,3,9,8] x) => (float[2,5,H,W] y)", f"y = Conv<{attributes}>(x, w)", {"w": weights}
    )
    x = normal(2, 3, 9, 8, seed=3)
    patches = patches_of(x, network.graph.node(0), (3, 2))
    actual = np.einsum("nchwij,mcij->nmhw", patches, weights)
    expected = Reference(network).run({"x": x})["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize(
    "attributes",
    ["pads={pads}, strides={twos}, dilations={twos}", 'auto_pad="SAME_UPPER", strides={twos}'],
)
def test_patches_of_sequences_and_volumes(axes, attributes):
    letters, sizes, kernel = "ijk"[:axes], (9, 6, 5)[:axes], (3, 2, 2)[:axes]
    twos, pads = [2] * axes, [1] * axes + [0] * axes
    weights = normal(5, 3, *kernel)
    shape = ",".join(map(str, (2, 3, *sizes)))
    network = model(
        f"(float[{shape}] x) => (float[{','.join('NMDHW'[: axes + 2])}] y)",
        f"y = Conv<{attributes.format(pads=pads, twos=twos)}>(x, w)",
        {"w": weights},
    )
    x = normal(2, 3, *sizes, seed=3)
    patches = patches_of(x, network.graph.node(0), kernel)
    actual = np.einsum(f"nc...{letters},mc{letters}->nm...", patches, weights)
    expected = Reference(network).run({"x": x})["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e25])
def test_moments_of_an_input_far_from_zero_that_hardly_varies(scale):
    network = model("(float[8,6] x) => (float[8,4] y)", "y = MatMul(x, w)", {"w": normal(6, 4)})
    (layer,) = linear_layers(network.graph)
    wide = 1e4 + normal(64, 6).astype(np.float64)
    x = [(scale * part).astype(np.float32) for part in np.split(wide, 8)]
    found = moments(layer, x)
    given = np.concatenate(x).astype(np.float64)
    np.testing.assert_allclose(found.mean[0], given.mean(axis=0), rtol=1e-6)
    spread = np.cov(given / scale, rowvar=False, bias=True)
    np.testing.assert_allclose(found.covariance[0] / scale**2, spread, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_moments_of_a_layers_input(groups):
    network = model(
        "(float[2,6,5,5] x) => (float[2,6,5,5] y)",
        f"y = Conv<group={groups}>(x, w)",
        {"w": normal(6, 6 // groups, 1, 1)},
    )
    (layer,) = linear_layers(network.graph)
    x = normal(2, 6, 5, 5, seed=1)
    found = moments(layer, [x])
    columns = x.transpose(1, 0, 2, 3).reshape(groups, 6 // groups, -1)
    np.testing.assert_allclose(found.mean, columns.mean(axis=2), atol=1e-6)
    for group in range(groups):
        expected = np.cov(columns[group], bias=True).reshape(found.covariance[group].shape)
        np.testing.assert_allclose(found.covariance[group], expected, atol=1e-4)


def fully_connected(inputs):
    network = model(
        f"(float[N,{inputs}] x) => (float[N,3] y)", "y = MatMul(x, w)", {"w": normal(inputs, 3)}
    )
    (layer,) = linear_layers(network.graph)
    return layer


@pytest.mark.parametrize(
    ("samples", "least", "most"),
    [
        pytest.param(8, 0.0, 0.1, id="fewer samples than inputs: chance"),
        pytest.param(20_000, 0.0, 0.1, id="independent inputs: nothing but chance"),
    ],
)
def test_correlations_of_independent_inputs_are_chance(samples, least, most):
    batches = [normal(samples, 64, seed=seed) for seed in range(4)]
    found = moments(fully_connected(64), batches)
    assert least <= found.reliable[0] <= most


def test_correlations_that_all_samples_share_stay():
    mixing = normal(2, 64, seed=9)
    batches = [normal(500, 2, seed=seed) @ mixing for seed in range(4)]
    found = moments(fully_connected(64), batches)
    assert found.reliable[0] > 0.95


@pytest.mark.parametrize("examples", [1, 2])
def test_one_batch_is_divided_by_its_examples(examples):
    mixing = normal(2, 16, seed=9)
    rows = np.repeat(normal(1, 2, seed=1) @ mixing, examples, axis=0)
    rows += 0.1 * normal(examples, 16, seed=2)
    found = moments(fully_connected(16), [rows])
    assert found.count == examples
    assert np.isfinite(found.reliable).all()
    if examples == 1:
        assert found.reliable[0] == 0.0
