"""EyeLike: which diagonal, and which dtype."""

from __future__ import annotations

import numpy as np
from onnx import parser

from tests.targets.cpu.conftest import Run


def test_diagonals_and_dtypes(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]>
        g (int32[N, 4] x) => (int32[N, 4] a, double[N, 4] b, bool[N, 4] c) {
          a = EyeLike(x)
          b = EyeLike<dtype = 11, k = 1>(x)
          c = EyeLike<dtype = 9, k = -2>(x)
        }""")
    results = run_on_cpu(model, np.zeros((3, 4), np.int32))
    for actual, k, dtype in zip(results, [0, 1, -2], ["int32", "float64", "bool"], strict=True):
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, np.eye(3, 4, k, dtype))
