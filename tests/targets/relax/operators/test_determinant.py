"""Determinants of small matrices; larger ones are left to others."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.errors import UnsupportedOperatorError
from tests.targets.cpu.conftest import Run


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_small_matrices(run_on_cpu: Run, rows: int) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
        g (double[N, {rows}, {rows}] x, double[{rows}, {rows}] m) => (double[N] y, double d) {{
          y = Det(x) d = Det(m)
        }}""")
    data = np.random.default_rng(0).standard_normal((5, rows, rows))
    many, one = run_on_cpu(model, data, data[0])
    np.testing.assert_allclose(many, np.linalg.det(data), rtol=1e-9)
    np.testing.assert_allclose(one, np.linalg.det(data[0]), rtol=1e-9)


def test_larger_ones_are_refused(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]>
        g (float[5, 5] x) => (float y) { y = Det(x) }""")
    with pytest.raises(UnsupportedOperatorError, match="up to 4 rows"):
        run_on_cpu(model, np.eye(5, dtype=np.float32))
