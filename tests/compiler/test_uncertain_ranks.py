"""A rank that depends on sizes is left open, whatever the model declares."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import ingot
from ingot.compiler.uncertain_ranks import forget_uncertain_ranks
from ingot.onnx_graph.shape_inference import infer_shapes
from tests.graphs import parse

HEAD = '<ir_version: 10, opset_import: ["":21]> '


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("float[N, 1, 4] x", None),
        ("float[2, 1, 4] x", [2, 4]),
        ("float[1, 1, 4] x", [4]),
    ],
)
def test_shapes_behind_a_squeeze_without_axes(source: str, expected: list[int] | None) -> None:
    model = parse(f"{HEAD} g ({source}) => (float[N, 4] y) {{ a = Squeeze(x) y = Relu(a) }}")
    value = model.graph.node(0).outputs[0]
    value.shape = ir.Shape(["N", 4])
    forget_uncertain_ranks(model)
    infer_shapes(model)
    for shape in (value.shape, model.graph.outputs[0].shape):
        assert (None if shape is None else list(shape)) == expected


def test_a_squeeze_with_axes_and_what_a_reshape_makes_certain_keep_their_shapes() -> None:
    model = parse(
        HEAD + "g (float[N, 1, 4] x) => (float[N, 4] y, float[M, 2] z) <int64[2] s = {-1, 2}> {"
        " one = Constant<value = int64[1] {1}>() y = Squeeze(x, one)"
        " a = Squeeze(x) z = Reshape(a, s) }"
    )
    forget_uncertain_ranks(model)
    infer_shapes(model)
    assert [len(value.shape or ()) for value in model.graph.outputs] == [2, 2]


def test_the_artifact_gives_the_rank_that_the_model_gives(tmp_path) -> None:
    model = parse(
        HEAD + "g (float[N, 1, 4] x) => (float[N, 4] y) { a = Relu(x) b = Squeeze(a)"
        " y = Sigmoid(b) }"
    )
    artifact = ingot.compile(model, tmp_path / "model.ingot")
    assert artifact.manifest.placement["onnxruntime"]["nodes"] == 2
    session = ingot.Session(artifact.path)
    for batch, shape in ((1, (4,)), (3, (3, 4))):
        assert session.run({"x": np.zeros((batch, 1, 4), np.float32)})["y"].shape == shape
