"""Where QuantizeLinear and DequantizeLinear go, and on which grids."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ingot.arithmetic import FLOAT_EPILOGUES, Arithmetic
from ingot.errors import UsageError
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import InsertQdq
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.quantization.qdq import InsertQdqOptions
from ingot.reference.session import Reference
from tests.passes.quantization.networks import (
    calibrated,
    images,
    model,
    normal,
    readers,
    residual_network,
    sqnr,
)

INTEGERS_ALONE = Arithmetic(
    dataclasses.replace(
        FLOAT_EPILOGUES, signed=True, activation_bits=frozenset({8, 16}), every_edge=True
    )
)


def quantized(network, data=None, arithmetic=None, **options):
    after = network.clone()
    pass_ = calibrated(InsertQdq(InsertQdqOptions(**options)), data)
    if arithmetic is not None:
        pass_.arithmetic = arithmetic
    outcome = pass_(after)
    check_graph(after)
    check_operators(after)
    return after, outcome


def producer(value, *op_types):
    node = value.producer()
    return node if node is not None and node.op_type in op_types else None


def test_outputs_stay_close_and_the_models_own_output_is_float():
    network = residual_network()
    after, outcome = quantized(network)
    assert outcome.applied == 4
    assert sqnr(network, after, images(seed=9)) > 25
    assert after.graph.outputs[0].producer().op_type == "Gemm"


def test_onnx_runtime_with_its_optimizations_computes_the_same():
    after, _ = quantized(residual_network())
    inputs = images(1, seed=3)[0]
    plain, optimized = (Reference(after, optimize=flag).run(inputs)["y"] for flag in (False, True))
    np.testing.assert_allclose(plain, optimized, atol=0.05 * np.abs(plain).max())


def test_each_reader_has_a_dequantize_of_its_own_and_each_value_one_quantize():
    after, _ = quantized(residual_network())
    for node in readers(after.graph, "DequantizeLinear"):
        assert len(node.outputs[0].uses()) == 1
    sources = [node.inputs[0] for node in readers(after.graph, "QuantizeLinear")]
    assert len(sources) == len(set(sources))


def test_activation_functions_and_sums_stay_in_the_kernel_before_them():
    after, _ = quantized(residual_network())
    (add,) = readers(after.graph, "Add")
    assert producer(add.inputs[0], "Conv"), "the operand that the kernel computes is float"
    assert producer(add.inputs[1], "DequantizeLinear"), "the other one lies in memory as integers"
    for op_type in ("Relu", "HardSwish"):
        for node in readers(after.graph, op_type):
            assert producer(node.inputs[0], "Conv", "Add")
            assert [reader.op_type for reader in node.outputs[0].consumers()] == ["QuantizeLinear"]


def test_weights_are_int8_per_channel_and_the_bias_is_on_the_accumulators_grid():
    after, _ = quantized(residual_network())
    for node in [*readers(after.graph, "Conv"), *readers(after.graph, "Gemm")]:
        activation, weights, bias = (value.producer() for value in node.inputs)
        integers = weights.inputs[0].const_value.numpy()
        scales = weights.inputs[1].const_value.numpy()
        assert integers.dtype == np.int8
        assert weights.attributes.get_int("axis") == 0
        assert scales.shape == (integers.shape[0],)
        assert np.abs(integers).max() == 127
        assert bias.inputs[0].const_value.numpy().dtype == np.int32
        assert len(bias.inputs) == 2, "zero point 0"
        expected = activation.inputs[1].const_value.numpy() * scales
        np.testing.assert_array_equal(bias.inputs[1].const_value.numpy(), expected)


def test_activations_of_16_bits_lie_about_zero_and_are_nearer_to_float():
    network = residual_network()
    narrow, _ = quantized(network, arithmetic=INTEGERS_ALONE)
    wide, _ = quantized(network, arithmetic=INTEGERS_ALONE, activation_bits=16)
    for node in readers(wide.graph, "QuantizeLinear"):
        zero_point = node.inputs[2].const_value.numpy()
        assert zero_point.dtype == np.int16
        assert zero_point == 0
    assert set(layer_precisions(wide.graph).values()) == {"int16 x int8"}
    assert sqnr(network, wide, images(seed=9)) > sqnr(network, narrow, images(seed=9)) + 1


def test_activations_of_16_bits_are_refused_where_they_cannot_be():
    with pytest.raises(UsageError, match="computes with activations of 8 bits, not of 16"):
        quantized(residual_network(), activation_bits=16)
    old = residual_network()
    old.graph.opset_imports[""] = 20
    with pytest.raises(UsageError, match="quantization to 16 bits needs opset 21"):
        quantized(old, arithmetic=INTEGERS_ALONE, activation_bits=16)


def test_a_dense_layer_may_have_one_scale_for_all_outputs():
    network = residual_network()
    rows, _ = quantized(network)
    layer, _ = quantized(network, dense_scales="layer")

    scales = [weight_scales_of(graph, "Gemm") for graph in (rows, layer)]
    assert len(np.unique(scales[0])) == len(scales[0])
    np.testing.assert_array_equal(scales[1], np.full_like(scales[0], scales[0].max()))
    np.testing.assert_array_equal(weight_scales_of(layer, "Conv"), weight_scales_of(rows, "Conv"))


def weight_scales_of(model, op_type):
    weights = readers(model.graph, op_type)[0].inputs[1].producer()
    return weights.inputs[1].const_value.numpy()


def test_activations_are_uint8_with_zero_on_the_grid():
    after, _ = quantized(residual_network())
    for node in readers(after.graph, "QuantizeLinear"):
        scale, zero_point = (value.const_value.numpy() for value in node.inputs[1:])
        assert (scale.shape, scale.dtype, zero_point.dtype) == ((), np.float32, np.uint8)
        assert scale > 0


def test_symmetric_activations_are_int8_about_zero():
    after, _ = quantized(residual_network(), symmetric=True)
    for node in readers(after.graph, "QuantizeLinear"):
        zero_point = node.inputs[2].const_value.numpy()
        assert zero_point.dtype == np.int8
        assert zero_point == 0


@pytest.mark.parametrize(
    "move",
    [
        "m = MaxPool<kernel_shape=[2,2]>(a)",
        "m = Transpose<perm=[0,1,3,2]>(a)",
        "m = Slice(a, i0, i8, ax)",
        "m = Pad(a, pads)",
        "k = MaxPool<kernel_shape=[2,2]>(a) m = Identity(k)",
    ],
)
def test_what_only_moves_values_keeps_the_grid(move):
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,N,M] y)",
        f"c = Conv(x, w) a = Relu(c) {move} y = Conv(m, v)",
        {
            "w": normal(4, 3, 1, 1),
            "v": normal(4, 4, 1, 1, seed=1),
            "i0": np.array([0], np.int64),
            "i8": np.array([4], np.int64),
            "ax": np.array([2], np.int64),
            "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        },
    )
    after, _ = quantized(network)
    grids = {
        tuple(float(value.const_value.numpy()) for value in node.inputs[1:])
        for node in readers(after.graph, "QuantizeLinear")
        if node.inputs[0].name != "x"
    }
    assert len(grids) == 1
    assert len(readers(after.graph, "QuantizeLinear")) >= 3


def test_operands_of_a_concatenation_share_one_grid_that_holds_both():
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "a = Conv(x, w) b = Conv(x, u) m = Concat<axis=1>(a, b) y = Conv(m, v)",
        {
            "w": normal(2, 3, 1, 1),
            "u": normal(2, 3, 1, 1, seed=2, scale=5),
            "v": normal(4, 4, 1, 1, seed=1),
        },
    )
    after, _ = quantized(network, range_method="min_max")
    scales = {
        node.inputs[0].name: float(node.inputs[1].const_value.numpy())
        for node in readers(after.graph, "QuantizeLinear")
    }
    assert scales["a"] == scales["b"] == scales["m"]
    assert sqnr(network, after, images(seed=4)) > 25


def test_a_gate_stays_float_and_what_it_scales_is_integers():
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "c = Conv(x, w) a = HardSwish(c) p = GlobalAveragePool(a) q = Conv(p, u) g = Sigmoid(q)"
        " s = Mul(a, g) y = Conv(s, v)",
        {"w": normal(4, 3, 1, 1), "u": normal(4, 4, 1, 1), "v": normal(4, 4, 1, 1, seed=1)},
    )
    after, outcome = quantized(network)
    (mul,) = readers(after.graph, "Mul")
    assert producer(mul.inputs[0], "DequantizeLinear")
    assert producer(mul.inputs[1], "Sigmoid")
    assert [node.op_type for node in mul.outputs[0].consumers()] == ["QuantizeLinear"]
    assert outcome.applied == 3


def test_silu_is_one_epilogue():
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "c = Conv(x, w) g = Sigmoid(c) s = Mul(c, g) y = Conv(s, v)",
        {"w": normal(4, 3, 1, 1), "v": normal(4, 4, 1, 1, seed=1)},
    )
    after, _ = quantized(network)
    (sigmoid,) = readers(after.graph, "Sigmoid")
    assert producer(sigmoid.inputs[0], "Conv")
    assert {node.inputs[0].name for node in readers(after.graph, "QuantizeLinear")} == {"x", "s"}


def test_a_residual_sum_of_a_transformer_reads_the_normalized_float():
    network = model(
        "(float[1,6,8] x) => (float[1,6,8] y)",
        "n = LayerNormalization(x, g, b) m = MatMul(n, w) a = Add(m, c) y = Add(a, n)",
        {
            "g": normal(8, seed=1),
            "b": normal(8, seed=2),
            "w": normal(8, 8, seed=3),
            "c": normal(8, seed=4),
        },
    )
    data = [{"x": normal(1, 6, 8, seed=seed)} for seed in range(8)]
    after, _ = quantized(network, data)
    residual = after.graph.outputs[0].producer()
    assert producer(residual.inputs[1], "LayerNormalization")
    (product,) = readers(after.graph, "MatMul")
    assert producer(product.inputs[0], "DequantizeLinear")
    assert product.inputs[1].producer().attributes.get_int("axis") == 1
    assert len(readers(after.graph, "QuantizeLinear")) == 1


def test_products_of_two_activations_stay_float():
    network = model("(float[1,6,6] x) => (float[1,6,6] y)", "y = MatMul(x, x)", {})
    after, outcome = quantized(network, [{"x": normal(1, 6, 6)}])
    assert outcome.applied == 0
    assert not outcome.modified
    assert len(after.graph) == 1


def test_layers_kept_in_float_are_named_and_read_float_weights():
    network = residual_network()
    name = readers(network.graph, "Gemm")[0].name
    after, outcome = quantized(network, keep_float=(name,))
    assert [(declined.node, declined.reason) for declined in outcome.declined] == [
        (name, "it is kept in float")
    ]
    assert layer_precisions(after.graph)[name] == "fp32"
    assert list(layer_precisions(after.graph).values()).count("int8") == 3


def test_a_name_that_is_no_layer_is_refused():
    with pytest.raises(UsageError, match="keep_float names 'nothing'"):
        quantized(residual_network(), keep_float=("nothing",))


def test_dead_channels_have_normal_scales():
    weights = normal(4, 3, 1, 1)
    weights[1] = 0.0
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "y = Conv(x, w, b)",
        {"w": weights, "b": np.array([1, 2, 3, 4], np.float32)},
    )
    after, _ = quantized(network)
    (conv,) = readers(after.graph, "Conv")
    scales = conv.inputs[1].producer().inputs[1].const_value.numpy()
    assert scales.min() > np.finfo(np.float32).tiny
    assert sqnr(network, after, images(2)) > 30


def test_without_data_it_says_how_to_give_it():
    with pytest.raises(UsageError, match="--calibration PATH"):
        InsertQdq().call(residual_network())


@pytest.mark.parametrize(("axes", "applied"), [(1, 2), (2, 2), (3, 0)])
def test_sequences_are_quantized_like_images_and_volumes_stay_float(axes, applied):
    shape = [1, 3, *[6] * axes]
    kernel = [3] * axes
    pads = [1] * 2 * axes
    dimensions = ",".join(map(str, shape))
    network = model(
        f"(float[{dimensions}] x) => (float[{dimensions}] y)",
        f"c = Conv<pads={pads}>(x, w, b) r = Relu(c) y = Conv<pads={pads}>(r, v)",
        {"w": normal(4, 3, *kernel), "b": normal(4), "v": normal(3, 4, *kernel, seed=1)},
    )
    data = [{"x": normal(*shape, seed=seed)} for seed in range(8)]
    after, outcome = quantized(network, data, weight_sums=2)
    assert outcome.applied == applied
    if applied:
        assert sqnr(network, after, data) > 25
        assert set(layer_precisions(after.graph).values()) == {"int8"}
    else:
        reasons = [declined.reason for declined in outcome.declined]
        assert reasons == ["a convolution over 3 axes is computed in float"] * 2
