"""Expand aligns its shape with the data's last dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from tests.targets.cpu.conftest import Run


@pytest.mark.parametrize("target", ["[N, 4]", "[3, 4]", "[2, 3, 4]", "[1]"])
def test_ranks(run_on_cpu: Run, target: str) -> None:
    sizes = target.strip("[]").split(", ")
    parts = "\n".join(
        f"d{i} = Shape(x) z{i} = Constant<value = int64[1] {{0}}>() s{i} = Gather(d{i}, z{i})"
        if size == "N"
        else f"s{i} = Constant<value = int64[1] {{{size}}}>()"
        for i, size in enumerate(sizes)
    )
    names = ", ".join(f"s{i}" for i in range(len(sizes)))
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 1, 4] x) => (float[A, B, C] y) {{
          {parts}
          shape = Concat<axis = 0>({names})
          y = Expand(x, shape)
        }}""")
    data = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    shape = [2 if size == "N" else int(size) for size in sizes]
    (actual,) = run_on_cpu(model, data)
    np.testing.assert_array_equal(actual, data * np.ones(shape, np.float32))
