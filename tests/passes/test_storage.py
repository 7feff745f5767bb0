"""Models of any size go to files and bytes, and come back the same."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ingot.passes.storage import fits_inline, save, to_bytes
from tests.graphs import assert_bit_equal, outputs_of, special_inputs


@pytest.fixture
def model():
    """y = x + w, with 1,024 bytes of weights."""
    array = np.arange(256, dtype=np.float32)
    x = ir.val("x", ir.DataType.FLOAT, [256])
    w = ir.val("w", const_value=ir.tensor(array, name="w"))
    node = ir.node("Add", [x, w], name="add")
    node.outputs[0].name = "y"
    node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([256])
    graph = ir.Graph(
        [x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 21}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def test_small_model_is_one_file(model, tmp_path):
    save(model, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)


def test_large_model_keeps_its_weights_beside_it(model, tmp_path):
    save(model, tmp_path / "m.onnx", limit=1000)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.onnx.data"}
    inputs = special_inputs(model)
    again = ir.load(tmp_path / "m.onnx")
    assert_bit_equal(outputs_of(model, inputs), outputs_of(again, inputs))


def test_bytes_hold_weights_that_lie_in_another_file(model, tmp_path):
    save(model, tmp_path / "m.onnx", limit=1000)
    external = ir.load(tmp_path / "m.onnx")
    assert isinstance(external.graph.initializers["w"].const_value, ir.ExternalTensor)
    proto = onnx.load_from_string(to_bytes(external))
    assert not proto.graph.initializer[0].external_data
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(proto.graph.initializer[0]), np.arange(256, dtype=np.float32)
    )
    assert isinstance(external.graph.initializers["w"].const_value, ir.ExternalTensor)


def test_limit_is_in_bytes_of_weights(model):
    assert fits_inline(model, 1024)
    assert not fits_inline(model, 1023)
