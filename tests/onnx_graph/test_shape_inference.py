"""Shapes and types are inferred without losing what kind of value it is."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from ingot.errors import ModelError
from ingot.onnx_graph.shape_inference import infer_shapes


def test_sequences_stay_sequences() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2, 3] x, int64 i) => (y) {
            s = SplitToSequence<axis = 0>(x)
            y = SequenceAt(s, i)
        }
        """
    )
    infer_shapes(model)
    sequence, element = (node.outputs[0] for node in model.graph)
    assert isinstance(sequence.type, ir.SequenceType)
    assert element.type == ir.TensorType(ir.DataType.FLOAT)


def test_shapes_follow_from_small_weights_beside_large_ones() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[6, n] x) => (y) <int64[2] s = {2, -1}> { y = Reshape(x, s) }
        """
    )
    infer_shapes(model)
    (y,) = model.graph.outputs
    assert y.shape is not None and y.shape[0] == 2


@pytest.mark.parametrize(
    "node",
    [
        "y = Conv<strides = [0, 0]>(x, w)",
        "y = Conv(x, w5)",
        "y = ConvTranspose(x, w5)",
    ],
)
def test_a_node_that_ends_onnxs_inference_is_named(node: str) -> None:
    """Division by zero, and ranks that are read unchecked: both end the process."""
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["": 20]>
        agraph (float[1, 3, 8, 8] a, float[4, 3, 3, 3] w, float[3, 3, 3, 3, 3] w5) => (float[n] y)
        {{ x = Relu(a)
           {node} }}
        """
    )
    for index, found in enumerate(model.graph):
        found.name = f"node{index}"
    with pytest.raises(ModelError, match=r"node 'node1' \(Conv.*(SIGFPE|SIGABRT)"):
        infer_shapes(model)


def test_what_there_is_no_room_for_is_refused() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 20]>
        agraph (float[8] x) => (float[n] y) { y = Split<num_outputs = 1099511627776>(x) }
        """
    )
    with pytest.raises(ModelError, match="no room"):
        infer_shapes(model)


def test_a_long_range_is_inferred_without_its_contents(monkeypatch) -> None:
    monkeypatch.setattr("ingot.onnx_graph.shape_inference._CHILD_BYTES", 256 << 20)
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 20]>
        agraph (int64 x) => (int64[n] y) <int64 a = {0}, int64 b = {1099511627776}, int64 d = {1}>
        { r = Range(a, b, d)
          y = Add(r, x) }
        """
    )
    assert not infer_shapes(model), "later calls go to a child too"
    assert str(model.graph.outputs[0].shape) == "[1099511627776]"
