"""Weights are parameters of the code, each content once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.build import compile_model
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees, normal


@pytest.mark.parametrize("copies", ["one initializer", "equal initializers"])
def test_layers_that_share_a_weight_share_the_packed_one(
    compile_for_cpu: Compile, copies: str
) -> None:
    network = Network()
    x = network.input(5, 48)
    matrix = normal(48, 48) / np.float32(7)
    weight = network.constant(matrix)
    for layer in range(4):
        if layer and copies == "equal initializers":
            weight = network.constant(matrix.copy())
        x = network.apply("Tanh", network.apply("MatMul", x, weight))
    network.output(x)
    compiled = compile_for_cpu(network.model())
    assert sum(array.size >= matrix.size for array in compiled.lowered.weights.values()) == 1
    assert_agrees(compiled, network)


def test_weights_that_differ_in_few_elements_stay_two(compile_for_cpu: Compile) -> None:
    network = Network()
    x = network.input(5, 256)
    matrix = normal(256, 256) / np.float32(16)
    other = matrix.copy()
    other[101, 77] += 1
    for weight in (matrix, other):
        x = network.apply("Tanh", network.apply("MatMul", x, network.constant(weight)))
    network.output(x)
    compiled = compile_for_cpu(network.model())
    assert sum(array.size >= matrix.size for array in compiled.lowered.weights.values()) == 2
    assert_agrees(compiled, network)


def test_a_constant_without_elements_can_be_loaded(tmp_path: Path) -> None:
    x = normal(1, 4, 8)
    nodes = [onnx.helper.make_node("Concat", ["nothing", "x"], ["y"], axis=1)]
    float_type = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "concatenation",
        [onnx.helper.make_tensor_value_info("x", float_type, x.shape)],
        [onnx.helper.make_tensor_value_info("y", float_type, x.shape)],
        [onnx.numpy_helper.from_array(np.zeros((1, 0, 8), np.float32), "nothing")],
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    artifact = compile_model(model, tmp_path / "m.ingot")
    with artifact.session() as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], x)
