"""LpNormalization divides rows by their norms; rows of zeros stay."""

from __future__ import annotations

import numpy as np
from onnx import parser

from tests.targets.cpu.conftest import Run


def test_rows_have_norm_one(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]>
        g (float[2, 3, 4] x) => (float[2, 3, 4] a, float[2, 3, 4] b, float[2, 3, 4] c) {
          a = LpNormalization(x)
          b = LpNormalization<axis = 0, p = 1>(x)
          c = LpNormalization<axis = 1>(x)
        }""")
    data = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    data[0, 1] = 0
    data[:, :, 2] = 0
    results = run_on_cpu(model, data)
    for result, axis, order in zip(results, [-1, 0, 1], [2, 1, 2], strict=True):
        norm = np.linalg.norm(data, order, axis, keepdims=True)
        expected = np.divide(data, norm, out=np.zeros_like(data), where=norm != 0)
        np.testing.assert_allclose(result, expected, rtol=1e-5)
