"""Unique in both orders, with where, which and how often."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, parser

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run


@pytest.mark.parametrize("in_order", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_distinct_elements(compile_for_cpu: Compile, dtype: str, in_order: int) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = ["y", "first", "inverse", "counts"]
    graph = helper.make_graph(
        [helper.make_node("Unique", ["x"], names, sorted=in_order)],
        "distinct",
        [helper.make_tensor_value_info("x", kind, ["N", 3])],
        [helper.make_tensor_value_info(name, kind if name == "y" else 7, [name]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    compiled = compile_for_cpu(model)
    for rows in (4, 1, 20):
        data = np.random.default_rng(rows).integers(-4, 5, (rows, 3)).astype(dtype)
        expected = Reference(model).run({"x": data})
        for actual, wanted in zip(compiled(data), expected.values(), strict=True):
            np.testing.assert_array_equal(actual, wanted)


def test_not_a_number_is_one_element(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 11]>
        g (float[5] x) => (float[A] y, int64[A] first, int64[5] which, int64[A] often) {
          y, first, which, often = Unique(x)
        }""")
    data = np.array([np.nan, 2, np.nan, -1, 2], np.float32)
    values, first, which, often = run_on_cpu(model, data)
    np.testing.assert_array_equal(values, [-1, 2, np.nan])
    np.testing.assert_array_equal(first, [3, 1, 0])
    np.testing.assert_array_equal(which, [2, 1, 2, 0, 1])
    np.testing.assert_array_equal(often, [1, 2, 2])
