"""What ONNX Runtime has no kernel for is computed by onnx's own evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.errors import ModelError
from ingot.reference.session import Reference


def test_operators_on_rare_types() -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (int16[3] x, float s) => (int16[3] y, float z) <int16[3] c = {1, 5, 2}> {
          a = Max(x, c)
          y = Neg(a)
          z = Exp(s)
        }""")
    reference = Reference(model, expose=["a"])
    assert reference.inputs == ("x", "s")
    assert reference.outputs == ("y", "z")
    inputs = {"x": np.array([3, 3, 3], np.int16), "s": np.float32(0)}
    outputs = reference.run(inputs)
    np.testing.assert_array_equal(outputs["y"], np.array([-3, -5, -3], np.int16))
    assert outputs["z"].shape == ()
    np.testing.assert_array_equal(reference.run(inputs, ["a"])["a"], [3, 5, 3])


def test_versions_that_neither_has_are_refused() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 6]>
        g (float[3] x) => (float[3] y) { y = Dropout<is_test = 1>(x) }""")
    with pytest.raises(ModelError, match="ONNX Runtime cannot load the model"):
        Reference(model)


def test_what_neither_has_is_refused() -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[3] x) => (float[3] y) { y = own.Unheard(x) }""")
    with pytest.raises(ModelError, match="ONNX Runtime cannot load the model"):
        Reference(model)
