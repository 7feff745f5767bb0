"""NonZero and Compress: how many there are is known when they have been counted."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, parser

from ingot.errors import InputError
from tests.targets.cpu.conftest import Compile, Run


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_indices_of_what_is_set(run_on_cpu: Run, dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "set",
        [helper.make_tensor_value_info("x", kind, ["N", 3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [3, "count"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = np.random.default_rng(0).integers(0, 2, (4, 3, 2)).astype(dtype)
    if dtype.startswith("float"):
        data[0, 0] = [np.nan, -0.0]
    (indices,) = run_on_cpu(model, data)
    np.testing.assert_array_equal(indices, np.stack(data.nonzero()))


def test_compress(compile_for_cpu: Compile) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 4] x, bool[M] c) => (float[A, 4] y, float[N, B] z, float[C] w) {
          y = Compress<axis = 0>(x, c) z = Compress<axis = -1>(x, c) w = Compress(x, c)
        }""")
    compiled = compile_for_cpu(model)
    data = np.arange(20, dtype=np.float32).reshape(5, 4)
    for chosen in ([1, 0, 1], [0, 0], [1, 1, 1, 1], []):
        condition = np.array(chosen, bool)
        results = compiled(data, condition)
        for actual, axis in zip(results, [0, 1, None], strict=True):
            np.testing.assert_array_equal(actual, np.compress(condition, data, axis))
    with pytest.raises(InputError, match="conditions"):
        compiled(data, np.ones(5, bool))
