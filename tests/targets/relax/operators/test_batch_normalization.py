"""Batch normalization in training mode: by the batch's own statistics."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run


@pytest.mark.parametrize("shape", ["2, 3, 4, 5", "8, 3"])
def test_training_mode(run_on_cpu: Run, shape: str) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 15]>
        g (float[{shape}] x, float[3] s, float[3] b, float[3] m, float[3] v)
          => (float[{shape}] y, float[3] mean, float[3] variance) {{
          y, mean, variance = BatchNormalization<training_mode = 1, momentum = 0.8, epsilon = 0.01>(
            x, s, b, m, v)
        }}""")
    generator = np.random.default_rng(0)
    sizes = [int(size) for size in shape.split(",")]
    arrays = [generator.standard_normal(sizes) * 3 + 100, *generator.uniform(0.5, 2, (4, 3))]
    inputs = dict(zip("xsbmv", [array.astype(np.float32) for array in arrays], strict=True))
    expected = Reference(model).run(inputs)
    for actual, wanted in zip(run_on_cpu(model, *inputs.values()), expected.values(), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4)
