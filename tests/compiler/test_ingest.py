"""Models come in checked and prepared, or are refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from ingot.compiler.ingest import ingest
from ingot.compiler.simplification import TARGET_OPSET
from ingot.errors import ModelError
from tests.conftest import small_network

TWO_INPUTS = """<ir_version: 10, opset_import: ["" : 20]>
two (float[N, S, 4] a, float[N, S] b) => (float[N, S, 4] y) {
  axes = Constant<value = int64[1] {2}>()
  c = Unsqueeze(b, axes)
  y = Mul(a, c)
}"""


def test_a_model_comes_in_with_shapes_names_and_a_recent_opset(small_model: Path) -> None:
    ingested = ingest(small_model)
    assert ingested.name == "small"
    assert ingested.opset == 20
    assert ingested.model.opset_imports[""] == TARGET_OPSET
    values = [value for node in ingested.model.graph for value in node.outputs]
    assert all(value.shape is not None for value in values)
    assert len({value.name for value in values}) == len(values)


def test_symbolic_dimensions_are_kept(small_model: Path) -> None:
    graph = ingest(small_model).model.graph
    assert str(graph.inputs[0].shape) == "[N,3,16,16]"
    assert str(graph.outputs[0].shape) == "[N,10]"


def test_the_file_and_the_proto_give_the_same_graph(small_model: Path) -> None:
    proto = ingest(small_network())
    assert [n.op_type for n in proto.model.graph] == [
        n.op_type for n in ingest(small_model).model.graph
    ]


def test_a_shape_binds_its_symbols_wherever_they_are() -> None:
    model = ingest(parser.parse_model(TWO_INPUTS), shapes={"a": (2, 5, 4)}).model
    assert [str(value.shape) for value in model.graph.inputs] == ["[2,5,4]", "[2,5]"]
    assert str(model.graph.outputs[0].shape) == "[2,5,4]"


@pytest.mark.parametrize("content", [b"", b"not a model\n", b"\x08", bytes(100), b"PK\x03\x04" * 9])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx (is not an ONNX model|cannot be read)"):
        ingest(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.99])
def test_a_file_cut_short_is_refused(small_model: Path, tmp_path: Path, share: float) -> None:
    data = small_model.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError) as error:
        ingest(path)
    assert "\n" not in str(error.value)


def test_an_invalid_graph_is_refused_with_the_checkers_reason() -> None:
    node = helper.make_node("Relu", ["missing"], ["y"], "relu")
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([node], "g", [], [value]))
    with pytest.raises(ModelError, match="not valid ONNX"):
        ingest(model)


def test_what_only_the_checker_objects_to_comes_in_with_a_note() -> None:
    """Nodes out of order, and an output without a shape: ONNX Runtime takes both."""
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Neg", ["x"], ["a"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), ir_version=10)
    found = ingest(model)
    assert [node.op_type for node in found.original.graph] == ["Neg", "Relu"]
    assert found.notes[-1].startswith("ONNX Runtime runs what onnx's checker objects to: Nodes in")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert str(ingest(model).model.graph.outputs[0].shape) == "[2]"


def external_weights(folder: Path) -> Path:
    path = folder / "external.onnx"
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_external_data_belongs_to_the_model_and_its_digest(tmp_path: Path) -> None:
    path = external_weights(tmp_path)
    before = ingest(path)
    assert np.all(before.model.graph.initializers["w"].const_value.numpy() == 1)
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\0")
    assert ingest(path).sha256 != before.sha256


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = external_weights(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin"):
        ingest(path)


def test_external_data_cut_short_is_named(tmp_path: Path) -> None:
    path = external_weights(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    with pytest.raises(ModelError, match="the file is cut short"):
        ingest(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model file .*none\.onnx"):
        ingest(tmp_path / "none.onnx")


def test_a_tensor_beyond_this_machines_memory_is_named_and_not_made() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        g (float[1] x) => (float[1] y) <int64[2] s = {1048576, 1073741824}> {
          c = ConstantOfShape(s)
          m = ReduceMax<keepdims = 0>(c)
          y = Add(x, m)
        }"""
    )
    found = ingest(model)
    assert "value 'c' of shape [1048576,1073741824]" in found.unverifiable
    assert "takes 4,503,599,627,370,496 bytes" in found.unverifiable
    huge = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        g (float[n, 1099511627776] x) => (float[n, 1099511627776] y) { y = Relu(x) }"""
    )
    assert "value 'x' of shape [n,1099511627776]" in ingest(huge).unverifiable


def test_a_loop_without_end_is_no_model_to_wait_for(monkeypatch) -> None:
    monkeypatch.setattr("ingot.reference.session.LONGEST_SECONDS", 0.5)
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        g (float[1] x) => (float[1] y) <int64 n = {4611686018427387904}, bool c = {1}> {
          y = Loop (n, c, x) <body = b (int64 i, bool d, float[1] v) => (bool e, float[1] w)
              { e = Identity(d)
                w = Relu(v) }>
        }"""
    )
    assert "does not come to the end of the model's loops" in ingest(model).unverifiable


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "large"])
def test_what_is_no_file_of_a_model_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(3 << 30)
    with pytest.raises(ModelError, match="there is no model file|above 2 GB"):
        ingest(path)


@pytest.mark.parametrize("shape", ["1, 2, 2, 6", "1, 2, 6, 6, 1", "9, 9"])
def test_an_output_declared_otherwise_than_it_is_computed_is_what_is_computed(shape: str) -> None:
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 20]>
        g (float[1, 3, 4, 4] x, float[3, 2, 3, 3] w) => (float[{shape}] y) {{
          a = ConvTranspose(x, w)
          y = Relu(a)
        }}"""
    )
    found = ingest(model)
    assert str(found.model.graph.outputs[0].shape) == "[1,2,6,6]"
    assert "and computed as [1,2,6,6]" in found.notes[0]
    assert str(found.model.graph.node(0).outputs[0].shape) == "[1,2,6,6]"


def test_inputs_that_contradict_their_readers_are_refused_by_the_reference() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        g (float[4, 4] x, int64[2, k] i, float[2, 4] u) => (float[4, 4] y)
        { y = ScatterND(x, i, u) }
        """
    )
    assert "ONNX Runtime cannot run the model" in ingest(model).unverifiable
