"""ReverseSequence along either of the two axes, with lengths of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_beginnings_are_reversed(run_on_cpu: Run, axes: tuple[int, int]) -> None:
    batch, time = axes
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
        g (float[4, 4, 3] x, int64[4] n) => (float[4, 4, 3] y) {{
          y = ReverseSequence<batch_axis = {batch}, time_axis = {time}>(x, n)
        }}""")
    inputs = {
        "x": np.arange(48, dtype=np.float32).reshape(4, 4, 3),
        "n": np.array([1, 3, 4, 2]),
    }
    (actual,) = run_on_cpu(model, *inputs.values())
    np.testing.assert_array_equal(actual, Reference(model).run(inputs)["y"])
