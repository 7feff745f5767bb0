"""A tile of accumulators computes outer products; panels are each gone through once."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import tirx

from ingot.targets.cpu.kernels.fusion.epilogue import Epilogue
from ingot.targets.cpu.kernels.tiling.blocking import part
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators, each_panel
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    index,
    load,
    prim_func,
    splat,
    vector_at,
)
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.conftest import Kernel, compile_kernel
from tests.targets.cpu.networks import normal

NATIVE = describe_cpu("native", threads=2)
LANES, DEPTH = 4, 5


def matrix(rows: int, columns: int, name: str) -> tirx.Buffer:
    return tirx.decl_buffer([index(rows), index(columns)], "float32", name)


def tile_kernel(rows: int, vectors: int, columns: int, taking_part: list[int] | None) -> Kernel:
    """Computes a tile of x · w; on the first step only some rows take part."""
    x, w = matrix(rows, DEPTH, "x"), matrix(DEPTH, vectors * LANES, "w")
    y = matrix(rows, columns, "y")
    emitter = Emitter()
    accumulators = Accumulators(emitter, rows, vectors, LANES)

    def step(k: tirx.Expr, rows: list[int] | None = None) -> None:
        accumulators.step(
            k,
            lambda row, at: load(x, row, at),
            lambda vector, at: load(w, at, vector_at(vector * LANES, LANES)),
            rows,
        )

    step(index(0), taking_part)
    with emitter.loop(DEPTH - 1, "k", start=1) as k:
        step(k)
    value, row, column = tirx.Var("value", "float32"), *(tirx.Var(n, "int64") for n in "rc")
    epilogue = Epilogue(value, (row, column), (), y)
    accumulators.store(epilogue, lambda row: [index(row)], index(0), columns)
    return compile_kernel(prim_func([x, w, y], emitter.body()), NATIVE)


@pytest.mark.parametrize(
    ("rows", "vectors", "columns"), [(1, 1, 4), (1, 8, 29), (3, 2, 8), (6, 2, 5), (4, 3, 1)]
)
def test_a_tile_is_a_product(rows: int, vectors: int, columns: int) -> None:
    x, w = normal(rows, DEPTH), normal(DEPTH, vectors * LANES, seed=1)
    result = tile_kernel(rows, vectors, columns, None)(x, w, shape=(rows, columns))
    np.testing.assert_allclose(result, (x @ w)[:, :columns], rtol=1e-5, atol=1e-5)


def test_rows_may_be_left_out_of_a_step() -> None:
    # Pixels at the edge of an image do not take part in the taps that fall into the padding.
    x, w = normal(3, DEPTH), normal(DEPTH, 2 * LANES, seed=1)
    result = tile_kernel(3, 2, 2 * LANES, [0, 2])(x, w, shape=(3, 2 * LANES))
    x[1, 0] = 0
    np.testing.assert_allclose(result, x @ w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("columns", "vectors", "groups"),
    [
        pytest.param(24, 2, 3, id="all panels are full"),
        pytest.param(3, 1, 1, id="one narrow panel"),
        pytest.param(27, 2, 1, id="one group ends with a narrower panel"),
        pytest.param(27, 2, 4, id="each panel is a group"),
        pytest.param(90, 1, 5, id="groups of unequal sizes"),
    ],
)
def test_each_panel_is_gone_through_once(columns: int, vectors: int, groups: int) -> None:
    panels = Panels(columns, LANES, vectors)
    zeros = tirx.decl_buffer([index(panels.count)], "float32", "zeros")
    widths = tirx.decl_buffer([index(panels.count)], "float32", "widths")
    emitter = Emitter()
    with emitter.loop(panels.count, "panel") as panel:
        emitter.store(widths, load(zeros, panel), [panel])
    with emitter.loop(groups, "group") as group:

        def add_width(panel: tirx.Expr, width: int) -> None:
            emitter.store(widths, load(widths, panel) + splat(float(width), 1), [panel])

        each_panel(emitter, panels, part(group, panels.count, groups), add_width)
    kernel = compile_kernel(prim_func([zeros, widths], emitter.body()), NATIVE)
    found = kernel(np.zeros(panels.count, np.float32), shape=(panels.count,))
    narrower = [panels.last_columns] if panels.last_columns else []
    assert found.tolist() == [panels.width] * panels.full + narrower
