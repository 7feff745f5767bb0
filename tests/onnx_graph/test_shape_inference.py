"""Shapes and types are inferred without losing what kind of value it is."""

from __future__ import annotations

import onnx_ir as ir

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
