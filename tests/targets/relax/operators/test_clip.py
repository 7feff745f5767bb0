"""Clip with bounds that are constants, attributes, inputs or left out."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run

LOW = "low = Constant<value = float {-0.5}>()"
HIGH = "high = Constant<value = float {0.25}>()"


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (20, f"{LOW} {HIGH} y = Clip(x, low, high)"),
        (20, f"{LOW} y = Clip(x, low)"),
        (20, f"{HIGH} y = Clip(x, , high)"),
        (20, "y = Clip(x)"),
        (20, f"{LOW} y = Clip(x, low, limit)"),
        (11, f"{LOW} {HIGH} y = Clip(x, low, high)"),
        (6, "y = Clip<min = -0.5, max = 0.25>(x)"),
        (6, "y = Clip<max = 0.25>(x)"),
    ],
)
def test_bounds(run_on_cpu: Run, opset: int, body: str) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : {opset}]>
        g (float[2, 9] x, float limit) => (float[2, 9] y) {{ {body} }}""")
    data = np.linspace(-1, 1, 18, dtype=np.float32).reshape(2, 9)
    limit = np.array(0.75, np.float32)
    expected = Reference(model).run({"x": data, "limit": limit})["y"]
    (actual,) = run_on_cpu(model, data, limit)
    np.testing.assert_array_equal(actual, expected)
