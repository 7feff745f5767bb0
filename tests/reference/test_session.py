"""ONNX Runtime as the reference: unoptimized, of any size, with clear errors."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from ingot.errors import InputError, ModelError
from ingot.passes.storage import save
from ingot.reference.session import Reference
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
        reference = Reference(source)
        assert (reference.inputs, reference.outputs) == (("x", "c"), ("y",))
        np.testing.assert_array_equal(reference.run(INPUTS)["y"], EXPECTED)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int8, np.int64])
@pytest.mark.parametrize("size", [3, 1000])
def test_weights_of_any_size_and_type(dtype, size, tmp_path):
    """Large weights are lent to the session, others are serialized: no difference to see."""
    values = np.arange(size).astype(dtype)
    model = ir.from_proto(
        onnx.helper.make_model(
            onnx.helper.make_graph(
                [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
                "g",
                [onnx.helper.make_tensor_value_info("x", values_type(dtype), [size])],
                [onnx.helper.make_tensor_value_info("y", values_type(dtype), [size])],
                [onnx.numpy_helper.from_array(values, "w")],
            ),
            opset_imports=[onnx.helper.make_opsetid("", 21)],
            ir_version=10,
        )
    )
    x = np.ones(size, dtype)
    np.testing.assert_array_equal(Reference(model).run({"x": x})["y"], values + x)
    save(model, tmp_path / "m.onnx", limit=1)
    external = ir.load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(Reference(external).run({"x": x})["y"], values + x)


def values_type(dtype):
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def test_large_weights_are_not_copied(monkeypatch):
    lengths = []
    session = ort.InferenceSession

    def spy(source, *arguments, **keywords):
        lengths.append(len(source))
        return session(source, *arguments, **keywords)

    monkeypatch.setattr(ort, "InferenceSession", spy)
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> '
        "g (float[1000] x) => (float[1000] y) { y = Add(x, w) }"
    )
    model.graph.initializers["w"] = ir.Value(
        name="w", const_value=ir.tensor(np.ones(1000, np.float32), name="w")
    )
    model = ir.from_proto(ir.to_proto(model))
    Reference(model)
    assert lengths[0] < 1000


@pytest.mark.parametrize("size", [200, 300, 100_000])
def test_weights_that_nothing_reads_are_left_out(size):
    model = parse(TEXT)
    tensor = ir.tensor(np.ones(size, np.float32), name="unread")
    model.graph.initializers["unread"] = ir.Value(name="unread", const_value=tensor)
    np.testing.assert_array_equal(Reference(model).run(INPUTS)["y"], EXPECTED)
    assert "unread" in model.graph.initializers


def test_exposed_values_can_be_fetched_but_are_no_outputs(model):
    reference = Reference(model, expose=["a", "y", "nowhere"])
    assert reference.outputs == ("y",)
    assert list(reference.run(INPUTS)) == ["y"]
    found = reference.run(INPUTS, ["a"])
    np.testing.assert_array_equal(found["a"], INPUTS["x"] * np.float32([1, 2]))


def test_source_is_not_changed(model):
    before = ir.to_proto(model).SerializeToString()
    reference = Reference(model, expose=["a", "b"])
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


def test_sequences_and_maps_are_lists_and_dicts():
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> '
        "g (seq(float[2]) x) => (seq(float[2]) y, float[4] z) "
        "{ y = Identity(x)  z = ConcatFromSequence<axis = 0>(x) }"
    )
    given = [np.zeros(2, np.float32), np.ones(2, np.float32)]
    found = Reference(model).run({"x": given})
    assert [array.tolist() for array in found["y"]] == [[0, 0], [1, 1]]
    assert found["z"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("optimize", [False, True])
def test_integer_arithmetic_does_not_saturate(optimize):
    """Processors without VNNI add pairs of products in 16 bits, which 2 * 255 * 127 exceeds."""
    model = parse(
        """<ir_version: 10, opset_import: ["":21]>
        g (float[1, 64] x) => (float[1, 8] y)
        <float one = {1}, uint8 zero = {0}, int8 none = {0}> {
          q = QuantizeLinear(x, one, zero)
          d = DequantizeLinear(q, one, zero)
          e = DequantizeLinear(w, one, none)
          m = MatMul(d, e)
          o = QuantizeLinear(m, wide, zero)
          y = DequantizeLinear(o, wide, zero)
        }""".replace("int8 none = {0}>", "int8 none = {0}, float wide = {16000}>")
    )
    weights = np.full((64, 8), 127, np.int8)
    model.graph.initializers["w"] = ir.Value(name="w", const_value=ir.tensor(weights, name="w"))
    model = ir.from_proto(ir.to_proto(model))
    x = np.full((1, 64), 255, np.float32)
    expected = np.rint(64 * 255 * 127 / 16000) * 16000
    np.testing.assert_array_equal(Reference(model, optimize=optimize).run({"x": x})["y"], expected)
