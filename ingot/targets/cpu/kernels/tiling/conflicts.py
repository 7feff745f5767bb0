"""Rows that compete for the same sets of the first-level cache, and copies that do not.

A tile walks along several rows at once. Where they lie a multiple of a cache way apart, which is
what happens with power-of-two channels, their current lines all belong to one set: with more rows
than the set has ways, each step evicts what the next one reads. On a Zen 4, tiles of 14 rows with a
depth of 1,024, 2,048, 3,072 or 4,096 reach 96 Gop/s, with 64 more elements between them 112.
"""

from __future__ import annotations

import dataclasses
import math

from tvm import tirx

from ingot.targets.cpu.kernels.rows.rows import Line
from ingot.targets.cpu.kernels.tiling.microkernel import RowOperand
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at
from ingot.targets.cpu.machine import CACHE_LINE_BYTES, CpuDescription

# A first-level cache is indexed by the bits of an address that paging leaves alone, so that a way
# of it is as large as a page.
_WAY_BYTES = 4096
_FLOAT_BYTES = 4
COLUMNS_WORTH_A_COPY = 128
"""Columns from which on copying a row costs less than a tenth of what its conflicts do: a copy
takes about 4 cycles per line, conflicts about a sixth of the time of the multiply-adds."""


def rows_compete(rows: int, stride: int, cpu: CpuDescription) -> bool:
    """Whether lines of some rows evict each other from the first-level cache.

    Args:
        rows: How many rows a tile walks along.
        stride: Elements from one to the next.
        cpu: The processor.
    """
    step = math.gcd(stride * _FLOAT_BYTES, _WAY_BYTES)
    places = _WAY_BYTES // max(step, CACHE_LINE_BYTES)
    return -(-rows // places) > cpu.core.l1d_bytes // _WAY_BYTES


def worth_a_copy(rows: int, stride: int, columns: int, cpu: CpuDescription) -> bool:
    """Whether rows compete so often that they are better copied apart.

    Args:
        rows: How many rows a tile walks along.
        stride: Elements from one to the next.
        columns: Columns that a row is multiplied by after a copy.
        cpu: The processor.
    """
    return columns >= COLUMNS_WORTH_A_COPY and rows_compete(rows, stride, cpu)


def apart(elements: int) -> int:
    """Returns the stride of rows of so many elements that never compete: an odd number of lines."""
    line = CACHE_LINE_BYTES // _FLOAT_BYTES
    return (-(-elements // line) | 1) * line


@dataclasses.dataclass(frozen=True)
class CopiedRows:
    """Rows of a matrix, copied to where they do not compete.

    Attributes:
        buffer: [rows, stride].
        first: The row of the matrix that it begins with.
    """

    buffer: tirx.Buffer
    first: tirx.Expr

    @classmethod
    def copy(
        cls,
        emitter: Emitter,
        source: RowOperand,
        bounds: tuple[tirx.Expr, tirx.Expr],
        most: int,
        depth: int,
    ) -> CopiedRows:
        """Writes the copy.

        Args:
            emitter: Where the statements go.
            source: Loads elements of a row.
            bounds: The first row, and one more than the last.
            most: The largest number of rows.
            depth: Elements of a row.
        """
        first, end = bounds
        buffer = emitter.allocate("apart", [most, apart(depth)])
        with emitter.function("copy"), emitter.loop(end - first, "row") as row:
            line = Line(emitter, depth, index(0))

            def put(at: tirx.Expr, lanes: int, row: tirx.Expr = row) -> None:
                place = vector_at(at, lanes)
                emitter.store(buffer, source(first + row, place), [row, place])

            line.each(put)
        return cls(buffer, first)

    def load(self, row: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        """Loads an element of a row, by its number in the matrix."""
        return load(self.buffer, row - self.first, at)
