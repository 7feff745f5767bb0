"""Dropout drops nothing when a model is used, and is refused where it might."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.errors import UnsupportedOperatorError
from tests.targets.cpu.conftest import Run

DATA = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_the_mask_is_all_true(run_on_cpu: Run) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]>
        g (float[2, 3] x, float r) => (float[2, 3] y, bool[2, 3] m, float[2, 3] z) {
          no = Constant<value = bool {0}>()
          zero = Constant<value = float {0}>()
          yes = Constant<value = bool {1}>()
          a, m = Dropout(x, r, no)
          y = Abs(a)
          b = Dropout(x, zero, yes)
          z = Abs(b)
        }""")
    y, mask, z = run_on_cpu(model, DATA, np.array(0.5, np.float32))
    assert mask.dtype == bool
    assert mask.all()
    np.testing.assert_array_equal(y, DATA)
    np.testing.assert_array_equal(z, DATA)


@pytest.mark.parametrize("training", ["t", "yes"])
def test_training_is_refused(run_on_cpu: Run, training: str) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
        g (float[2, 3] x, float r, bool t) => (float[2, 3] y) {{
          yes = Constant<value = bool {{1}}>()
          y = Dropout(x, r, {training})
        }}""")
    with pytest.raises(UnsupportedOperatorError, match="training mode is random"):
        run_on_cpu(model, DATA)
