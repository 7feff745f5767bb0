"""Rows of a matrix of bytes, copied to where each begins at a multiple of four."""

from __future__ import annotations

from collections.abc import Callable

from tvm import sym, tirx

from ingot.targets.cpu.kernels.integer.dot import GROUP
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, vector_at
from ingot.targets.cpu.machine import CpuDescription

ElementLoader = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
"""Loads one or several elements of a row: the row, and the place in it."""


def padded_length(length: int) -> int:
    """Returns the bytes of a row with what makes them whole groups."""
    return -(-length // GROUP) * GROUP


def stage_rows(
    emitter: Emitter,
    element: ElementLoader,
    length: int,
    bounds: tuple[tirx.Expr, tirx.Expr],
    most: int,
    cpu: CpuDescription,
) -> tirx.Buffer:
    """Writes the copy of some rows.

    What lies behind a row's last byte stays as it is: the weights there are zero.

    Args:
        emitter: Where the statements go.
        element: Loads from the matrix.
        length: Bytes of a row.
        bounds: The first row, and one more than the matrix's last.
        most: How many rows to copy at most.
        cpu: The processor.

    Returns:
        uint8 [most, bytes of a padded row].
    """
    first, end = bounds
    staged = emitter.allocate("staged", [most, padded_length(length)], "uint8")
    count = sym.Analyzer().simplify(tirx.Min(end - first, index(most)))
    with emitter.loop(count, "copied_row") as row:
        for start in range(0, length, cpu.vector_bytes):
            place = vector_at(start, min(cpu.vector_bytes, length - start))
            emitter.store(staged, element(first + row, place), [row, place])
    return staged
