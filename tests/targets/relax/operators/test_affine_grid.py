"""AffineGrid in two and three dimensions, its size a constant or given when the model runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run
from tests.targets.relax.sizes import assert_same, parse


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("size", [(2, 1, 5, 6), (2, 1, 3, 5, 6)])
def test_grids(run_on_cpu: Run, size: tuple[int, ...], aligned: int) -> None:
    rank = len(size) - 2
    listed = ", ".join(map(str, size))
    dims = ", ".join("ABCDE"[: rank + 2])
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[2, {rank}, {rank + 1}] t, int64[{len(size)}] s)
          => (float[{dims}] y, float[{dims}] z) <int64[{len(size)}] c = {{{listed}}}> {{
          y = AffineGrid<align_corners = {aligned}>(t, s)
          z = AffineGrid<align_corners = {aligned}>(t, c)
        }}""")
    maps = np.random.default_rng(0).standard_normal((2, rank, rank + 1)).astype(np.float32)
    expected = Reference(model).run({"t": maps, "s": np.array(size)})["y"]
    for actual in run_on_cpu(model, maps, np.array(size)):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_size_that_is_not_positive_is_refused(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[1,2,3] t, int64[4] z) => (float[A,B,C,2] y) {
      y = AffineGrid(t, z) }""")
    compiled = compile_for_cpu(model)
    maps = np.ones((1, 2, 3), np.float32)
    for size in ([1, 1, 3, 4], [1, 1, 0, 4], [1, 1, 3, -1], [2, 1, 3, 4]):
        assert_same(model, compiled, {"t": maps, "z": np.array(size)})
