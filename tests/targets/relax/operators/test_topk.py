"""How many elements are asked for may be known, symbolic, or given when the model runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.targets.cpu.conftest import Compile, Run
from tests.targets.relax.sizes import assert_same, parse


def test_counts(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[N,M] x, int64[1] k, float[K] t)
      => (float[N,A] y, int64[N,A] i, float[N,B] z, int64[N,B] j, float[N,2] v, int64[N,2] w) {
        y, i = TopK(x, k) s = Shape(t) z, j = TopK<largest = 0>(x, s)
        two = Constant<value = int64[1] {2}>() v, w = TopK(x, two) }""")
    compiled = compile_for_cpu(model)
    generator = np.random.default_rng(0)
    for m, given, asked in ((5, 1, 1), (5, 5, 3), (2, 2, 2), (1, 1, 1), (5, 6, 1), (5, 1, 7)):
        feeds = {
            "x": generator.permutation(2 * m).reshape(2, m).astype(np.float32),
            "k": np.array([given]),
            "t": np.zeros(asked, np.float32),
        }
        assert_same(model, compiled, feeds)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "uint64"])
def test_integers_of_every_width(run_on_cpu: Run, dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("TopK", ["x", "k"], ["v", "i"])],
        "top",
        [helper.make_tensor_value_info("x", kind, [2, 5])],
        [helper.make_tensor_value_info("v", kind, [2, 2]),
         helper.make_tensor_value_info("i", TensorProto.INT64, [2, 2])],
        [helper.make_tensor("k", TensorProto.INT64, [1], [2])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    limits = np.iinfo(dtype)
    data = np.array([[3, limits.max, 1, limits.min, 2], [5, 4, 7, limits.max // 2, 6]], dtype)
    values, indices = run_on_cpu(model, data)
    expected = np.argsort(-data.astype(np.float64), axis=1, kind="stable")[:, :2]
    assert values.dtype == dtype
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(data, expected, 1))
