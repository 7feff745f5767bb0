"""Activations of the newest opsets."""

from __future__ import annotations

import numpy as np
from onnx import parser

from tests.targets.cpu.conftest import Run


def test_swish(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 11, opset_import: ["" : 24]>
        g (float[40] x) => (float[40] y, float[40] z) { y = Swish(x) z = Swish<alpha = 1.7>(x) }""")
    data = np.linspace(-9, 9, 40, dtype=np.float32)
    for actual, alpha in zip(run_on_cpu(model, data), [1, 1.7], strict=True):
        np.testing.assert_allclose(actual, data / (1 + np.exp(-alpha * data)), rtol=1e-5)
