"""Reductions of matrices along their rows, column by column: the mean of an image per channel.

The columns (channels, in NHWC) are vectors. A task accumulates a few neighbouring vectors over all
rows, several rows at a time into accumulators of their own, as many as the latency of an addition
asks for; these are combined at the end. The order of it all depends on the shape alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from tvm import tirx

from ingot.targets.cpu.floats import maximum, minimum
from ingot.targets.cpu.kernels.anchors import ColumnReductionAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel, matrix_view
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.window.tiles import vector_lanes
from ingot.targets.cpu.kernels.writing.dimension import product
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    as_float,
    index,
    load,
    prim_func,
    vector_at,
)
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# Vectors of a task at most, or of rows at once: lines that are under way to the core together.
_ACCUMULATORS = 8
# Jumping from row to row takes as long as reading so many columns.
_COLUMNS_OF_A_JUMP = 8.0
_ELEMENT_BYTES = 4

_COMBINED: dict[str, tuple[float, Callable[[tirx.Expr, tirx.Expr], tirx.Expr]]] = {
    "sum": (0.0, lambda total, value: total + value),
    "max": (-math.inf, maximum),
    "min": (math.inf, minimum),
}


def write_column_reduction(
    kernel: FusedKernel[ColumnReductionAnchor], cpu: CpuDescription
) -> tirx.PrimFunc:
    """Writes the code of a reduction over all axes between the leading ones and the last."""
    emitter = Emitter()
    data, leading = kernel.parameters[0], kernel.anchor.leading
    initial, combine = _COMBINED[kernel.anchor.reduce]
    columns = int(data.shape[-1])
    matrices, rows = product(data.shape[:leading]), product(data.shape[leading:-1])
    lanes = vector_lanes(columns, cpu)
    vectors = _choose_vectors(columns, lanes, cpu.thread_counts)
    width = vectors * lanes
    groups = -(-columns // width)
    at_once = max(1, _ACCUMULATORS // vectors) if isinstance(rows, int) else 1
    view = matrix_view(emitter, data)
    kept = len(kernel.epilogue.result.shape) - leading - 1

    def emit_task(task: tirx.Expr) -> None:
        matrix = emitter.bind("matrix_number", task // index(groups))
        column = _first_column(task % index(groups), width, columns)
        accumulators = Accumulators(emitter, at_once, vectors, lanes, initial)
        first = emitter.bind("first_row", matrix * index(rows))

        def emit_rows(start: tirx.Expr, count: int) -> None:
            for row in range(count):
                for vector in range(vectors):
                    at = vector_at(column + index(vector * lanes), lanes)
                    read = load(view, first + start + index(row), at)
                    value = emitter.bind("value", as_float(read))
                    accumulators.update(row, vector, functools.partial(combine, value))

        whole = rows // at_once if isinstance(rows, int) else rows
        with emitter.loop(whole, "step") as step:
            emit_rows(step * index(at_once), at_once)
        if isinstance(rows, int):
            emit_rows(index(rows - rows % at_once), rows % at_once)
        accumulators.fold(combine)
        place = [*_decode(matrix, data.shape[:leading]), *[index(0)] * kept]
        accumulators.store(kernel.epilogue, lambda _: place, column, width)

    operations = matrices * rows * columns
    # Whole rows are read one after the other, which is what prefetchers are made for.
    work = operations * max(1, _ELEMENT_BYTES * cpu.operations_of_a_byte // 2)
    share_tasks(emitter, matrices * groups, work, emit_task, cpu)
    return prim_func(
        kernel.parameters,
        emitter.body(),
        family="reduction",
        operations=operations if isinstance(operations, int) else None,
    )


def _choose_vectors(columns: int, lanes: int, thread_counts: Sequence[int]) -> int:
    """Vectors of a task, weighing columns computed twice, jumps between rows, and idle threads."""

    def time(vectors: int) -> float:
        groups = -(-columns // (vectors * lanes))
        read = groups * (vectors * lanes + _COLUMNS_OF_A_JUMP)
        idle = [-(-groups // threads) * threads / groups for threads in thread_counts]
        return read * sum(idle)

    return min(range(1, min(_ACCUMULATORS, columns // lanes) + 1), key=time)


def _first_column(group: tirx.Expr, width: int, columns: int) -> tirx.Expr:
    """The first column of a group; the last group ends with the columns."""
    if columns % width == 0:
        return group * index(width)
    return tirx.Min(group * index(width), index(columns - width))


def _decode(number: tirx.Expr, sizes: Sequence[tirx.Expr]) -> list[tirx.Expr]:
    """The coordinates of a matrix in the leading axes."""
    coordinates: list[tirx.Expr] = []
    for size in reversed(list(sizes)[1:]):
        coordinates.insert(0, number % size)
        number = number // size
    return [number, *coordinates] if len(sizes) else []
