"""Activations quantized when the model runs."""

from __future__ import annotations

import pytest

from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import QuantizeDynamic
from ingot.passes.quantization.dynamic import QuantizeDynamicOptions
from tests.passes.quantization.networks import images, model, normal, residual_network, sqnr


def apply(network, **options):
    after = network.clone()
    outcome = QuantizeDynamic(QuantizeDynamicOptions(**options))(after)
    check_graph(after)
    check_operators(after)
    return after, outcome


@pytest.mark.parametrize("operators", [("Gemm",), ("Conv",), ("Conv", "Gemm")])
def test_layers_become_integer_products(operators):
    network = residual_network()
    after, outcome = apply(network, operators=operators)
    kept = {node.op_type for node in after.graph} & {"Conv", "Gemm"}
    assert kept == {"Conv", "Gemm"} - set(operators)
    assert outcome.applied == ("Conv" in operators) * 3 + ("Gemm" in operators)
    assert sqnr(network, after, images(4)) > 25


def test_one_activation_is_quantized_once_for_all_of_its_products():
    network = model(
        "(float[2,6,8] x) => (float[2,6,8] y)",
        "q = MatMul(x, a) k = MatMul(x, b) y = Add(q, k)",
        {"a": normal(8, 8), "b": normal(8, 8, seed=1)},
    )
    after, outcome = apply(network)
    assert outcome.applied == 2
    assert [node.op_type for node in after.graph].count("DynamicQuantizeLinear") == 1
    assert sqnr(network, after, [{"x": normal(2, 6, 8, seed=2)}]) > 30
