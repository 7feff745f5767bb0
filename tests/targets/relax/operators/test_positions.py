"""The position of the largest of no elements is none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, parse


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
def test_positions_along_an_open_axis(compile_for_cpu: Compile, operator: str) -> None:
    model = parse(f"""g (float[3,N] x, float[9] t) => (float[3] y) {{
      i = {operator}<axis = 1, keepdims = 0>(x) y = Gather(t, i) }}""")
    compiled = compile_for_cpu(model)
    table = np.arange(9, dtype=np.float32)
    for size in (0, 1, 4):
        x = np.random.default_rng(size).normal(size=(3, size)).astype(np.float32)
        assert_same(model, compiled, {"x": x, "t": table})
