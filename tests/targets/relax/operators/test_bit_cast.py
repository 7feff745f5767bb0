"""BitCast reads the bits of one type as another's."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.targets.cpu.conftest import Run


@pytest.mark.parametrize(
    ("source", "target"),
    [("float32", "int32"), ("int64", "float64"), ("float16", "uint16"), ("int8", "uint8"),
     ("uint8", "bool"), ("bool", "int8"), ("int32", "int32")],
)  # fmt: skip
def test_bits_stay(run_on_cpu: Run, source: str, target: str) -> None:
    types = [helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in (source, target)]
    graph = helper.make_graph(
        [helper.make_node("BitCast", ["x"], ["y"], to=types[1])],
        "bits",
        [helper.make_tensor_value_info("x", types[0], [2, 3])],
        [helper.make_tensor_value_info("y", types[1], [2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 26)], ir_version=13)
    data = np.array([[0, 1, 1], [0, 0, 1]], source)
    (actual,) = run_on_cpu(model, data)
    np.testing.assert_array_equal(actual, data.view(target))
