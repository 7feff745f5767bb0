"""Outlier channels of matrix products move into their weights."""

from __future__ import annotations

import numpy as np

from ingot.compiler.verification import ReferenceCheck
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import InsertQdq, Smooth
from ingot.passes.quantization.smoothing import SmoothOptions
from tests.passes.quantization.networks import calibrated, model, normal, readers, sqnr

DATA = [{"x": normal(1, 6, 16, seed=seed)} for seed in range(12)]
OUTLIERS = np.where(np.arange(16) % 5 == 0, 40.0, 1.0).astype(np.float32)


def transformer(residual: bool):
    last = "s = Add(h, n) y = MatMul(s, o)" if residual else "y = MatMul(h, o)"
    return model(
        "(float[1,6,16] x) => (float[1,6,16] y)",
        f"n = LayerNormalization(x, g, b) h = MatMul(n, w) {last}",
        {
            "g": normal(16, seed=1) * OUTLIERS,
            "b": normal(16, seed=2),
            "w": normal(16, 16, seed=3) / OUTLIERS[:, None],
            "o": normal(16, 16, seed=4),
        },
    )


def smoothed(network):
    after = network.clone()
    outcome = calibrated(Smooth(), DATA)(after)
    check_graph(after)
    check_operators(after)
    ReferenceCheck(DATA[:2]).compare(network, after, Smooth.tolerance, pass_name=Smooth.name)
    return after, outcome


def test_a_normalization_takes_the_factors_where_products_alone_read_it():
    network = transformer(residual=False)
    after, outcome = smoothed(network)
    assert outcome.applied >= 1
    (norm,) = readers(after.graph, "LayerNormalization")
    assert [node.op_type for node in norm.outputs[0].consumers()] == ["MatMul"]
    assert not np.array_equal(
        norm.inputs[1].const_value, network.graph.initializers["g"].const_value
    )


def test_a_residual_sum_still_reads_what_it_did():
    network = transformer(residual=True)
    after, _ = smoothed(network)
    (norm,) = readers(after.graph, "LayerNormalization")
    assert {node.op_type for node in norm.outputs[0].consumers()} == {"Mul", "Add"}


def test_it_pays_where_there_are_outliers():
    network = transformer(residual=True)
    better, _ = smoothed(network)
    plain = network.clone()
    calibrated(InsertQdq(), DATA)(plain)
    calibrated(InsertQdq(), DATA)(better)
    assert sqnr(network, better, DATA) > sqnr(network, plain, DATA) + 3


def test_without_insertions_only_normalizations_take_factors():
    network = transformer(residual=True)
    after = network.clone()
    calibrated(Smooth(SmoothOptions(insert=False)), DATA)(after)
    assert not readers(after.graph, "Mul")
