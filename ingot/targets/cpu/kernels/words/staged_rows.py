"""Rows of a matrix of bytes or bfloat16, copied to where each begins with a whole word."""

from __future__ import annotations

from collections.abc import Callable

from tvm import sym, tirx

from ingot.targets.cpu.bfloat16 import bits_of
from ingot.targets.cpu.kernels.anchors import Word
from ingot.targets.cpu.kernels.words.dot import GROUP_OF, STAGED, WORD_BYTES
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, vector_at
from ingot.targets.cpu.machine import CpuDescription

ElementLoader = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
"""Loads one or several elements of a row: the row, and the place in it."""


def padded_length(length: int, group: int) -> int:
    """Returns the elements of a row with what makes them whole groups."""
    return -(-length // group) * group


def stage_rows(
    emitter: Emitter,
    element: ElementLoader,
    length: int,
    bounds: tuple[tirx.Expr, tirx.Expr],
    most: int,
    cpu: CpuDescription,
    word: Word = "uint8",
) -> tirx.Buffer:
    """Writes the copy of some rows.

    The weights behind a row's last element are zero. What lies there stays as it is of bytes, and
    becomes zero of bfloat16: what is left in memory may be no number.

    Args:
        emitter: Where the statements go.
        element: Loads from the matrix.
        length: Elements of a row.
        bounds: The first row, and one more than the matrix's last.
        most: How many rows to copy at most.
        cpu: The processor.
        word: What a word of the matrix is.

    Returns:
        [most, elements of a padded row].
    """
    first, end = bounds
    group = GROUP_OF[word]
    padded, lanes = padded_length(length, group), cpu.vector_bytes * group // WORD_BYTES
    staged = emitter.allocate("staged", [most, padded], STAGED[word])
    count = sym.Analyzer().simplify(tirx.Min(end - first, index(most)))
    with emitter.loop(count, "copied_row") as row:
        for start in range(0, length, lanes):
            place = vector_at(start, min(lanes, length - start))
            emitter.store(staged, bits_of(element(first + row, place)), [row, place])
        for behind in range(length, padded if word == "bfloat16" else length):
            emitter.store(staged, tirx.const(0, STAGED[word]), [row, behind])
    return staged
