"""ONNX Runtime as the reference: unoptimized, of any size, with clear errors."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from ingot.compiler.reference import Reference
from ingot.errors import InputError, ModelError
from ingot.passes.storage import save
from tests.graphs import parse

TEXT = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 2] x, bool c) => (float[N, 2] y) <float[2] w = {1, 2}> {
 [mul] a = Mul(x, w)
 [relu] b = Relu(a)
 [y] y = Neg(b)
}"""
INPUTS = {"x": np.array([[1, -1], [2, 3]], np.float32), "c": np.array(True)}
EXPECTED = np.array([[-1, 0], [-2, -6]], np.float32)


@pytest.fixture
def model():
    return parse(TEXT)


def test_all_kinds_of_source_give_the_same(model, tmp_path):
    path = tmp_path / "m.onnx"
    save(model, path)
    for source in (model, ir.to_proto(model), path):
        with Reference(source) as reference:
            assert (reference.inputs, reference.outputs) == (("x", "c"), ("y",))
            np.testing.assert_array_equal(reference.run(INPUTS)["y"], EXPECTED)


def test_weights_above_the_limit_go_through_a_file_that_is_removed(model, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Reference(model, inline_limit=4) as reference:
        np.testing.assert_array_equal(reference.run(INPUTS)["y"], EXPECTED)
        assert [path.name[:16] for path in tmp_path.iterdir()] == ["ingot-reference-"]
    assert list(tmp_path.iterdir()) == []


def test_exposed_values_can_be_fetched_but_are_no_outputs(model):
    with Reference(model, expose=["a", "y", "nowhere"]) as reference:
        assert reference.outputs == ("y",)
        assert list(reference.run(INPUTS)) == ["y"]
        found = reference.run(INPUTS, ["a"])
        np.testing.assert_array_equal(found["a"], INPUTS["x"] * np.float32([1, 2]))


def test_source_is_not_changed(model):
    before = ir.to_proto(model).SerializeToString()
    with Reference(model, expose=["a", "b"], inline_limit=0) as reference:
        reference.run(INPUTS)
    assert ir.to_proto(model).SerializeToString() == before


def test_a_weight_gives_the_same_bits_as_an_input_of_equal_value():
    """Else folding would change results: a packed weight is multiplied in another order."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1, 300), np.float32)
    w = generator.standard_normal((300, 64), np.float32)
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> '
        "g (float[1, 300] x, float[300, 64] w) => (float[1, 64] y) { y = MatMul(x, w) }"
    )
    as_input = Reference(model, threads=1).run({"x": x, "w": w})["y"]
    constant = ir.to_proto(model)
    constant.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    del constant.graph.input[1]
    np.testing.assert_array_equal(Reference(constant, threads=1).run({"x": x})["y"], as_input)


def test_optimizations_are_off_unless_asked_for(model, monkeypatch):
    levels = []
    session = ort.InferenceSession

    def spy(source, options, **arguments):
        levels.append(options.graph_optimization_level)
        return session(source, options, **arguments)

    monkeypatch.setattr(ort, "InferenceSession", spy)
    Reference(model)
    Reference(model, optimize=True)
    assert levels == [
        ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ]


@pytest.mark.parametrize(
    "inputs", [{}, {"x": INPUTS["x"]}, {**INPUTS, "z": INPUTS["x"]}], ids=["none", "one", "extra"]
)
def test_wrong_inputs_are_named(model, inputs):
    with pytest.raises(InputError, match="the model's inputs are x, c; missing: "):
        Reference(model).run(inputs)


def test_wrong_shape_is_one_line(model):
    with pytest.raises(ModelError, match="ONNX Runtime cannot run the model: ") as caught:
        Reference(model).run({**INPUTS, "x": np.zeros((2, 3), np.float32)})
    assert "\n" not in str(caught.value)


def test_refused_model_is_one_line(model, tmp_path):
    model.graph.node(1).op_type = "Rellu"
    with pytest.raises(ModelError, match=r"cannot load the model: .*Rellu") as caught:
        Reference(model)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="ONNX Runtime cannot load the model"):
        Reference(Path(tmp_path / "absent.onnx"))


def test_sequence_as_output_is_refused():
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> '
        "g (float[4] x) => (seq(float[2]) y) { y = SplitToSequence(x) }"
    )
    with pytest.raises(ModelError, match="output 'y' is no tensor"):
        Reference(model).run({"x": np.zeros(4, np.float32)})
