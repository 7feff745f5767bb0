"""Weights stored as int8 per channel, or as int4 in groups."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import QuantizeWeights
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.quantization.weight_only import QuantizeWeightsOptions, searched_scales
from tests.passes.quantization.networks import images, model, normal, residual_network, sqnr


def dense(opset=23, transposed=False):
    weights = normal(128, 64, seed=1)
    operator = "Gemm<transB=1>" if transposed else "MatMul"
    return model(
        "(float[2,64] x) => (float[2,128] y)",
        f"y = {operator}(x, w)",
        {"w": weights if transposed else np.ascontiguousarray(weights.T)},
        opset,
    )


def apply(network, **options):
    after = network.clone()
    outcome = QuantizeWeights(QuantizeWeightsOptions(**options))(after)
    check_graph(after)
    check_operators(after)
    return after, outcome


INPUTS = [{"x": normal(2, 64, seed=5)}]


@pytest.mark.parametrize(("bits", "least"), [(8, 38), (4, 17)])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_in_float_with_integer_weights(bits, least, transposed):
    network = dense(transposed=transposed)
    after, outcome = apply(network, bits=bits)
    assert outcome.applied == 1
    assert sqnr(network, after, INPUTS) > least
    assert list(layer_precisions(after.graph).values()) == [f"int{bits} weights"]


def test_int4_takes_half_a_byte_and_a_scale_per_group():
    after, _ = apply(dense(), bits=4, group=16)
    stored = {value.dtype: value.const_value for value in after.graph.initializers.values()}
    assert stored[ir.DataType.INT4].nbytes == 128 * 64 // 2
    assert stored[ir.DataType.FLOAT].size == 128 * 64 // 16


def test_convolutions_take_int8():
    network = residual_network()
    after, outcome = apply(network, smallest=16)
    assert outcome.applied == 4
    assert sqnr(network, after, images(4)) > 35


@pytest.mark.parametrize(
    ("network", "options", "reason"),
    [
        (dense(), {"smallest": 10**6}, "its 8192 weights are too few to matter"),
        (dense(opset=20), {"bits": 4}, "grouped scales need opset 21, the model has 20"),
        (dense(), {"bits": 4, "group": 48}, "its 64 inputs do not divide into groups of 48"),
    ],
)
def test_leaves(network, options, reason):
    after, outcome = apply(network, **options)
    assert [declined.reason for declined in outcome.declined] == [reason]
    assert not outcome.modified
    assert len(after.graph) == 1


@given(st.integers(0, 10**6), st.sampled_from([4, 8]))
def test_searched_scales_are_no_worse_than_the_widest(seed, bits):
    rows = np.random.default_rng(seed).standard_t(3, size=(4, 16)).astype(np.float32)

    def error(scales):
        limit = 2 ** (bits - 1) - 1
        rounded = np.clip(np.rint(rows / scales[:, None]), -limit, limit) * scales[:, None]
        return ((rounded - rows) ** 2).sum(axis=1)

    widest = np.abs(rows).max(axis=1) / (2 ** (bits - 1) - 1)
    assert (error(searched_scales(rows, bits=bits)) <= error(widest) * (1 + 1e-4)).all()
