"""What onnx_ir does not read comes in all the same: maps, sparse constants."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.errors import ModelError
from ingot.onnx_graph.protos import has_maps, map_type, read_proto, write_proto
from ingot.reference.session import Reference

FLOATS = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
SCORES = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, FLOATS))
COUNTS = helper.make_map_type_proto(TensorProto.STRING, FLOATS)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def zip_map() -> onnx.ModelProto:
    node = helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[3, 4])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    return model_of([node], [x], [helper.make_value_info("p", SCORES)])


def vectorizer() -> onnx.ModelProto:
    node = helper.make_node(
        "DictVectorizer", ["d"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b", "c"]
    )
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    return model_of([node], [helper.make_value_info("d", COUNTS)], [y])


@pytest.mark.parametrize("build", [zip_map, vectorizer])
def test_maps_go_in_and_out_unchanged(build: object) -> None:
    proto = build()  # type: ignore[operator]
    before = proto.SerializeToString(deterministic=True)
    model = read_proto(proto)
    assert has_maps(model)
    assert write_proto(model.clone()).SerializeToString(deterministic=True) == before
    assert proto.SerializeToString(deterministic=True) == before


def test_the_type_of_a_map_is_known_and_the_reference_computes_it() -> None:
    model = read_proto(zip_map())
    assert map_type(model.graph.outputs[0]) == SCORES
    assert map_type(model.graph.inputs[0]) is None
    found = Reference(model).run({"x": np.array([[0.25, 0.75]], np.float32)})
    assert found == {"p": [{3: 0.25, 4: 0.75}]}


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("form", ["initializer", "Constant"])
def test_sparse_constants_become_dense(form: str, linear: bool) -> None:
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "w")
    indices = np.array([1, 5] if linear else [[0, 1], [1, 2]], np.int64)
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "i"), [2, 3])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    proto = model_of(nodes, [x], [y])
    if form == "initializer":
        proto.graph.sparse_initializer.append(sparse)
    else:
        proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=sparse))
    found = Reference(read_proto(proto)).run({"x": np.zeros((2, 3), np.float32)})
    assert found["y"].tolist() == [[0, 5, 0], [0, 0, 7]]


def test_a_damaged_sparse_constant_is_named() -> None:
    values = numpy_helper.from_array(np.array([5], np.float32), "w")
    indices = numpy_helper.from_array(np.array([9], np.int64), "i")
    proto = zip_map()
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    with pytest.raises(ModelError, match="sparse constant 'w' is damaged"):
        read_proto(proto)


def test_models_without_either_are_not_copied() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = read_proto(model_of([helper.make_node("Relu", ["x"], ["y"])], [x], []))
    assert isinstance(model, ir.Model)
    assert not has_maps(model)
