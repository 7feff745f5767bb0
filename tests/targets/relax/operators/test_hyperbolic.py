"""Hyperbolic functions keep their accuracy near zero and up to the largest results."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from tests.targets.cpu.conftest import Run

SPECIAL = [0, -0.0, np.nan, np.inf, -np.inf, 1e-5, -1e-5, 1, -1, 0.999]


@pytest.mark.parametrize(("onnx_type", "dtype", "largest"), [
    ("float", np.float32, 89.3), ("double", np.float64, 710.0),
])  # fmt: skip
def test_hyperbolic(run_on_cpu: Run, onnx_type: str, dtype: type, largest: float) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
        g ({onnx_type}[96] x) => ({onnx_type}[96] c, {onnx_type}[96] s) {{
          c = Cosh(x)
          s = Sinh(x)
        }}""")
    spread = [*np.linspace(-largest, largest, 43), *np.linspace(-1.5, 1.5, 43)]
    data = np.array([*SPECIAL, *spread]).astype(dtype)
    cosine, sine = run_on_cpu(model, data)
    exact = data.astype(np.longdouble)
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(cosine, np.cosh(exact).astype(dtype), rtol=tolerance)
    np.testing.assert_allclose(sine, np.sinh(exact).astype(dtype), rtol=tolerance)
