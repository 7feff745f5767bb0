"""Staged rows are written whole: the image's pixels and the padding beside them, and no more."""

from __future__ import annotations

import itertools

import tvm_ffi
from hypothesis import example, given
from hypothesis import strategies as st
from tvm import tirx
from tvm.sym import Analyzer
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.tiling.axes import Axis
from ingot.targets.cpu.kernels.tiling.staging import StagedRows
from ingot.targets.cpu.kernels.writing.emission import Emitter, index
from ingot.targets.cpu.kernels.writing.rewriting import substitute

CHANNELS = 3
HEIGHT = Axis(size=9, result=4, kernel=5, stride=2, padding=2, dilation=1)


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """An axis of a convolution whose kernel fits into the padded image."""
    size, before, after = draw(st.tuples(st.integers(1, 30), st.integers(0, 9), st.integers(0, 9)))
    dilation = draw(st.integers(1, 3))
    most = (size + before + after - 1) // dilation + 1
    kernel = draw(st.integers(1, min(most, 8)))
    stride = draw(st.integers(1, 4))
    result = (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
    return Axis(size, result, kernel, stride, before, dilation)


def columns_written(body: tirx.Stmt, staged: tirx.Buffer) -> list[list[int]]:
    """The columns that each statement writes in its row, of the first channel."""
    loops: dict[tirx.Var, tirx.Expr] = {}
    written: list[list[int]] = []

    def note(store: statements.BufferStore) -> None:
        column, channel = store.indices[1:]
        if not store.buffer.same_as(staged) or int(channel) != 0:
            return
        variables = [x for x in tirx.analysis.undefined_vars(column) if x in loops]
        extent = int(loops[variables[0]]) if variables else 1
        values = [substitute(column, dict.fromkeys(variables, index(x))) for x in range(extent)]
        written.append([int(Analyzer().simplify(value)) for value in values])

    tvm_ffi.structural_walk(
        body, (statements.For, lambda loop: loops.update({loop.loop_var: loop.extent}))
    )
    tvm_ffi.structural_walk(body, (statements.BufferStore, note))
    return written


@given(axes())
@example(Axis(size=1, result=1, kernel=5, stride=3, padding=6, dilation=1))
def test_each_column_is_written_once(width: Axis) -> None:
    emitter = Emitter()
    source = tirx.decl_buffer([index(s) for s in (1, CHANNELS, HEIGHT.size, width.size)], "float32")
    rows = StagedRows.copy(
        emitter, source, (HEIGHT, width), index(0), index(0), index(HEIGHT.result), HEIGHT.result
    )
    columns = int(rows.buffer.shape[1])
    assert columns == (width.result - 1) * width.stride + (width.kernel - 1) * width.dilation + 1
    pixels = [c for c in range(columns) if 0 <= c - width.padding < width.size]
    written = columns_written(emitter.body(), rows.buffer)
    if pixels:
        # Twice over: read where the row lies in the image, zero where it does not.
        read, zero, *written = written
        assert read == zero == pixels
    assert sorted([*pixels, *itertools.chain(*written)]) == list(range(columns))
