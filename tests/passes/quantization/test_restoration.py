"""Chosen layers back in float."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import InsertQdq, LearnRounding
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.quantization.restoration import restore_float
from ingot.reference.session import Reference
from tests.passes.quantization.networks import (
    calibrated,
    images,
    readers,
    residual_network,
)


@pytest.fixture(scope="module")
def models():
    network = residual_network()
    quantized = network.clone()
    calibrated(InsertQdq())(quantized)
    calibrated(LearnRounding())(quantized)
    return network, quantized


def test_nothing_restored_is_the_quantized_model(models):
    network, quantized = models
    restored = restore_float(quantized, network, [])
    assert list(map(str, restored.graph)) == list(map(str, quantized.graph))


def test_all_layers_restored_are_the_float_model(models):
    network, quantized = models
    restored = restore_float(quantized, network, list(layer_precisions(quantized.graph)))
    check_graph(restored)
    check_operators(restored)
    assert set(layer_precisions(restored.graph).values()) == {"fp32"}
    assert not readers(restored.graph, "QuantizeLinear")
    assert not readers(restored.graph, "DequantizeLinear")
    for one in images(4, seed=3):
        np.testing.assert_array_equal(
            Reference(restored).run(one)["y"], Reference(network).run(one)["y"]
        )


@pytest.mark.parametrize(("kept", "residual"), [(0, "DequantizeLinear"), (1, "Relu")])
def test_a_residual_stays_in_integers_only_for_a_layer_that_multiplies_it(models, kept, residual):
    network, quantized = models
    name = list(layer_precisions(quantized.graph))[kept]
    (add,) = readers(restore_float(quantized, network, [name]).graph, "Add")
    assert [value.producer().op_type for value in add.inputs] == ["Conv", residual]


@pytest.mark.parametrize("index", range(4))
def test_one_layer_restored_leaves_the_others_as_they_were(models, index):
    network, quantized = models
    name = list(layer_precisions(quantized.graph))[index]
    restored = restore_float(quantized, network, [name])
    check_graph(restored)
    check_operators(restored)
    precisions = layer_precisions(restored.graph)
    assert precisions.pop(name) == "fp32"
    assert set(precisions.values()) == {"int8"}
    assert layer_precisions(quantized.graph)[name] == "int8", "the given model is not changed"
