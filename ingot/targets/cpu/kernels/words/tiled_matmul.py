"""Matmul of words in the tiles of AMX.

The last tile of rows ends where the matrix does, and begins among rows that the tile before it has
had: no row beyond the end is read. Where rows do not follow each other at one distance (a 1x1
convolution that skips pixels) or are no whole number of words, a task copies its rows first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.tiling.blocking import choose_blocking, part
from ingot.targets.cpu.kernels.tiling.matrix_rows import dynamic_groups
from ingot.targets.cpu.kernels.tiling.microkernel import each_panel
from ingot.targets.cpu.kernels.words.amx import (
    TILE_ROWS,
    TILES_AT_ONCE,
    TileRows,
    TileSums,
)
from ingot.targets.cpu.kernels.words.staged_rows import (
    ElementLoader,
    padded_length,
    stage_rows,
)
from ingot.targets.cpu.kernels.writing.emission import index, load
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

_ROWS_AT_ONCE = TILE_ROWS * TILES_AT_ONCE
# Where the number of rows is known only at run time: enough to pay for a task.
_BLOCKS_OF_A_DYNAMIC_TASK = 4

# More go across the panels, block by block: the rows of a block stay in the first-level cache.
_MOST_BLOCKS_DOWN = 16

# Returns what a tile takes, given its number.
_Tiles = Callable[[tirx.Expr], TileRows]


@dataclasses.dataclass(frozen=True)
class TiledMatmul:
    """A matmul while it is written.

    Attributes:
        sums: Writes its sums.
        cpu: The processor.
        length: Length of the reduction.
        extent: Rows of the matrix.
        element: Loads one or several elements of a row of the source.
        adjoining: Whether rows follow each other in memory.
    """

    sums: TileSums
    cpu: CpuDescription
    length: int
    extent: int | tirx.Expr
    element: ElementLoader
    adjoining: bool

    def write(self) -> None:
        """Writes its code, of a block of rows and a group of panels in each task."""
        if isinstance(self.extent, int):
            self._static(self.extent)
        else:
            self._dynamic(self.extent)

    def _static(self, extent: int) -> None:
        emitter, panels = self.sums.emitter, self.sums.panels
        blocks = -(-extent // _ROWS_AT_ONCE)
        operations = 2 * extent * self.length * panels.columns // self.sums.speed
        blocking = choose_blocking(
            row_units=blocks,
            row_bytes=float(self.length * _ROWS_AT_ONCE * self.sums.weights.element_bytes),
            panels=panels.count,
            panel_bytes=float(self.length * panels.width * self.sums.weights.element_bytes),
            operations=operations,
            cpu=self.cpu,
        )

        def emit_task(task: tirx.Expr) -> None:
            group = part(task // index(blocking.row_blocks), panels.count, blocking.panel_groups)
            low, high = part(task % index(blocking.row_blocks), blocks, blocking.row_blocks)
            most = -(-blocks // blocking.row_blocks)
            self._task((emitter.bind("low", low), emitter.bind("high", high)), most, group)

        share_tasks(emitter, blocking.tasks, operations, emit_task, self.cpu)

    def _dynamic(self, extent: tirx.Expr) -> None:
        emitter, panels, most = self.sums.emitter, self.sums.panels, _BLOCKS_OF_A_DYNAMIC_TASK
        blocks = emitter.bind("blocks", _ceiling(extent, _ROWS_AT_ONCE))
        groups = dynamic_groups(panels.count)
        with emitter.parallel(_ceiling(blocks, most) * index(groups), "task") as task:
            group = part(task % index(groups), panels.count, groups)
            low = emitter.bind("low", task // index(groups) * index(most))
            self._task((low, tirx.Min(low + index(most), blocks)), most, group)

    def _task(
        self, bounds: tuple[tirx.Expr, tirx.Expr], most: int, group: tuple[tirx.Expr, tirx.Expr]
    ) -> None:
        """Writes the code of a task.

        Args:
            bounds: Its blocks of rows.
            most: How many these are at most.
            group: Its panels.
        """
        emitter, panels = self.sums.emitter, self.sums.panels
        low, high = bounds
        direct = self.adjoining and self.length % self.sums.group == 0
        tiles = self._direct() if direct else self._staged(low, most)
        least = tirx.Min(index(self.extent), index(TILE_ROWS)) if direct else TILE_ROWS
        across = most > _MOST_BLOCKS_DOWN

        def write(block: tirx.Expr, panel: tirx.Expr, columns: int) -> None:
            first = block * index(TILES_AT_ONCE)
            parts, share = [tiles(first), tiles(first + index(1))], (block - low, most)
            self.sums.write(sums, panel, columns, parts, None if across else share)

        def blocks_of(panel: tirx.Expr, columns: int) -> None:
            with emitter.loop(high - low, "block", start=low) as block:
                write(block, panel, columns)

        def panels_of(block: tirx.Expr) -> None:
            each_panel(emitter, panels, group, lambda panel, columns: write(block, panel, columns))

        with self.sums.task(least) as sums:
            if across:
                with emitter.loop(high - low, "block", start=low) as block:
                    panels_of(block)
            else:
                each_panel(emitter, panels, group, blocks_of)

    def _direct(self) -> _Tiles:
        """Tiles that read the matrix as it lies."""
        last = tirx.Max(index(self.extent) - index(TILE_ROWS), index(0))
        rows = tirx.Min(index(self.extent), index(TILE_ROWS))

        def tile(number: tirx.Expr) -> TileRows:
            wanted = number * index(TILE_ROWS)
            start = self.sums.emitter.bind("first_row", tirx.Min(wanted, last))
            return TileRows(
                lambda _, group: self.element(start, group * index(self.sums.group)),
                self.length * self.sums.weights.element_bytes,
                (tirx.Min(wanted - start, rows), rows),
                lambda row: [start + row],
            )

        return tile

    def _staged(self, low: tirx.Expr, most: int) -> _Tiles:
        """Tiles that read a copy of the task's rows."""
        emitter, extent = self.sums.emitter, index(self.extent)
        before = emitter.bind("before", low * index(_ROWS_AT_ONCE))
        staged = stage_rows(
            emitter,
            self.element,
            self.length,
            (before, extent),
            most * _ROWS_AT_ONCE,
            self.cpu,
            self.sums.word,
        )

        def tile(number: tirx.Expr) -> TileRows:
            start = emitter.bind("first_row", number * index(TILE_ROWS))
            rows = tirx.Max(tirx.Min(extent - start, index(TILE_ROWS)), index(0))
            return TileRows(
                lambda _, group: load(staged, start - before, group * index(self.sums.group)),
                padded_length(self.length, self.sums.group) * self.sums.weights.element_bytes,
                (index(0), rows),
                lambda row: [start + row],
            )

        return tile


def _ceiling(extent: tirx.Expr, size: int) -> tirx.Expr:
    return (extent + index(size - 1)) // index(size)
