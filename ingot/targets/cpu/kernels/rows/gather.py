"""Gathering rows of a table by their numbers: embedding lookup. A copy per row, in vectors."""

from __future__ import annotations

import dataclasses
import math

from tvm import tirx

from ingot.targets.cpu.kernels.rows.rows import Line, flat
from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# Of float32.
_ELEMENT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Gather:
    """A lookup of rows.

    Attributes:
        table: The table's dimensions: rows, then what makes up a row.
        indices: The indices' dimensions.
        index_type: ``int32`` or ``int64``.
        clipped: Whether an index outside of the table takes the first or the last row; otherwise
            the caller vouches for the indices.
        from_end: Whether negative indices count from the end.
    """

    table: tuple[int, ...]
    indices: tuple[Dim, ...]
    index_type: str
    clipped: bool
    from_end: bool


def gather(problem: Gather, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the kernel; its parameters are the table (float32), the indices, and the result."""
    emitter = Emitter()
    table = tirx.decl_buffer(problem.table, "float32", "table")
    indices = tirx.decl_buffer(problem.indices, problem.index_type, "indices")
    result = tirx.decl_buffer((*problem.indices, *problem.table[1:]), "float32", "result")
    rows, width = problem.table[0], math.prod(problem.table[1:])
    source, target = flat(emitter, table), flat(emitter, result)
    numbers = flat(emitter, indices)

    def emit_row(position: tirx.Expr) -> None:
        number = emitter.bind("number", load(numbers, position).astype("int64"))
        if problem.from_end:
            number = tirx.Select(number < 0, number + index(rows), number)
        if problem.clipped:
            number = tirx.max(tirx.min(number, index(rows - 1)), index(0))
        row = emitter.bind("row", number * width)
        line = Line(emitter, width, emitter.bind("first", position * width))

        def copy(at: tirx.Expr, lanes: int) -> None:
            value = load(source, vector_at(row + at - line.first, lanes))
            emitter.store(target, value, [vector_at(at, lanes)])

        line.each(copy)

    count = product(problem.indices)
    # Rows of a large table come from memory.
    work = round(_ELEMENT_BYTES * cpu.operations_per_cycle / cpu.core.dram_bytes_per_cycle)
    share_tasks(emitter, count, count * width * work, emit_row, cpu)
    operations = 0 if isinstance(count, int) else None
    return prim_func(
        [table, indices, result], emitter.body(), family="gather", operations=operations
    )
