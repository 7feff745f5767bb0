"""OneHot with a depth and values that are constants or given when the model runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from tests.targets.cpu.conftest import Compile

INDICES = np.array([[0, 3], [-1, 7], [-4, -9]])


@pytest.mark.parametrize("depth", ["depth", "four"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_entry_is_set(compile_for_cpu: Compile, axis: int, depth: str) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 11]>
        g (int64[N, 2] x, float depth, float[2] values) => (float[A, B, C] y)
          <int64 four = {{4}}> {{ y = OneHot<axis = {axis}>(x, {depth}, values) }}""")
    values = np.array([-1, 2], np.float32)
    (actual,) = compile_for_cpu(model)(INDICES, np.array(4, np.float32), values)
    entries = np.arange(4)
    expected = np.where(np.where(INDICES < 0, INDICES + 4, INDICES)[..., None] == entries, 2, -1)
    np.testing.assert_array_equal(actual, np.moveaxis(expected, -1, axis))
