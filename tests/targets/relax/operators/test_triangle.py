"""Trilu keeps a triangle, bounded by a diagonal that is known or given when the model runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from tests.targets.cpu.conftest import Compile


@pytest.mark.parametrize("upper", [0, 1])
def test_triangles(compile_for_cpu: Compile, upper: int) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
        g (int64[N, 3, M] x, int64 k) => (int64[N, 3, M] a, int64[N, 3, M] b, int64[N, 3, M] c)
          <int64 one = {{1}}> {{
          a = Trilu<upper = {upper}>(x)
          b = Trilu<upper = {upper}>(x, one)
          c = Trilu<upper = {upper}>(x, k)
        }}""")
    compiled = compile_for_cpu(model)
    triangle = np.triu if upper else np.tril
    for columns, diagonal in [(5, -1), (5, 2), (2, -7), (0, 1)]:
        data = np.arange(1, 2 * 3 * columns + 1).reshape(2, 3, columns)
        results = compiled(data, np.array(diagonal))
        for actual, k in zip(results, [0, 1, diagonal], strict=True):
            np.testing.assert_array_equal(actual, triangle(data, k))
