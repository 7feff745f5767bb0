"""Cosh keeps its accuracy up to the largest results."""

from __future__ import annotations

import numpy as np
from onnx import parser

from tests.targets.cpu.conftest import Run


def test_cosh(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]>
        g (float[64] x) => (float[64] y) { y = Cosh(x) }""")
    data = np.linspace(-89.3, 89.3, 64, dtype=np.float32)
    data[:4] = [0, np.nan, np.inf, -np.inf]
    (actual,) = run_on_cpu(model, data)
    np.testing.assert_allclose(actual, np.cosh(data.astype(np.float64)), rtol=2e-5)
