"""QOperator models are read in QDQ form, and compiled to kernels of integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from ingot.compiler import qoperators
from ingot.compiler.build import compile_model
from ingot.compiler.ingest import ingest
from ingot.reference.session import Reference
from tests.targets.cpu.quantized_networks import random_weights

CONTRIB = "com.microsoft"


def network(opset: int = 17) -> onnx.ModelProto:
    """A residual block and a classifier, as ONNX Runtime's quantizer writes them."""
    generator = np.random.default_rng(0)
    grid = ["s", "z"]
    tensors = {
        "s": np.float32(2.0**-5),
        "z": np.uint8(120),
        "ws": np.float32(2.0**-8),
        "wz": np.int8(0),
        "w1": random_weights(8, 8, 3, 3),
        "b1": generator.integers(-500, 500, 8, np.int32),
        "w2": random_weights(8, 8, 1, 1, seed=1),
        "w3": random_weights(8, 6, seed=2),
        "flat": np.array([0, -1]),
    }
    quantized = ["ws", "wz"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *grid], ["q"], "quantize"),
        helper.make_node(
            "QLinearConv", ["q", *grid, "w1", *quantized, *grid, "b1"], ["c1"], "conv1",
            pads=[1] * 4,
        ),
        helper.make_node(
            "QLinearLeakyRelu", ["c1", *grid, *grid], ["r"], "relu", domain=CONTRIB, alpha=0.1
        ),
        helper.make_node("QLinearConv", ["r", *grid, "w2", *quantized, *grid], ["c2"], "conv2"),
        helper.make_node(
            "QLinearAdd", ["c2", *grid, "q", *grid, *grid], ["a"], "add", domain=CONTRIB
        ),
        helper.make_node(
            "QLinearGlobalAveragePool", ["a", *grid, *grid], ["p"], "pool", domain=CONTRIB
        ),
        helper.make_node("Reshape", ["p", "flat"], ["f"], "flatten"),
        helper.make_node(
            "QLinearMatMul", ["f", *grid, "w3", *quantized, *grid], ["m"], "classifier"
        ),
        helper.make_node("DequantizeLinear", ["m", *grid], ["y"], "dequantize"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "qoperators",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 8, 7, 7])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 6])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_it_runs_on_kernels_of_integers_with_onnx_runtimes_results(tmp_path: Path) -> None:
    artifact = compile_model(network(), tmp_path / "m.ingot")
    assert set(artifact.manifest.precision["layers"].values()) <= {"int8"}
    assert artifact.manifest.measured["verification"]["reference"] == "quantized graph"
    assert any("integer_conv2d" in name for name in artifact.manifest.kernels)
    x = np.random.default_rng(1).normal(size=(3, 8, 7, 7)).astype(np.float32)
    expected = Reference(ir.from_proto(network())).run({"x": x})["y"]
    with artifact.session() as session:
        actual = session.run({"x": x})["y"]
    assert np.abs(actual - expected).max() <= 2.0**-5


@pytest.mark.parametrize("opset", [11, 17])
def test_no_operator_on_integers_is_left(opset: int) -> None:
    model = ingest(network(opset)).model
    assert not any(node.op_type.startswith("QLinear") for node in model.graph)


def test_a_form_that_computes_something_else_is_dropped_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spell_out = qoperators.SpellOut.call

    def wrong(self: qoperators.SpellOut, model: ir.Model) -> object:
        outcome = spell_out(self, model)
        scale = np.float32(2.0**-7)
        model.graph.initializers["ws"].const_value = ir.tensor(scale, name="ws")
        return outcome

    monkeypatch.setattr(qoperators.SpellOut, "call", wrong)
    found = ingest(network())
    assert any(node.op_type == "QLinearConv" for node in found.model.graph)
    assert any("left as they are" in note for note in found.notes)
