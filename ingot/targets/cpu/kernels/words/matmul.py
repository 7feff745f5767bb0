"""Matmul of words with packed weights, and what is one: 1x1 convolution in NHWC.

The activations, bytes or bfloat16, are read as they lie, a word of neighbours along K at a time,
which a 32-bit broadcast takes from memory for nothing. Where K is no multiple of a word's values, a
task copies its rows first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import WordMatmulAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.blocking import Blocking, choose_blocking, part
from ingot.targets.cpu.kernels.tiling.matrix_rows import (
    TILES_OF_A_DYNAMIC_BLOCK,
    decode_row,
    dynamic_blocks,
    first_row_of,
    row_extent,
    row_loader,
    tiles_of_block,
    tiles_of_runs,
)
from ingot.targets.cpu.kernels.tiling.microkernel import each_panel
from ingot.targets.cpu.kernels.tiling.tiles import Panels, most_rows, split_rows
from ingot.targets.cpu.kernels.words.amx import TileSums
from ingot.targets.cpu.kernels.words.dot import WORD_BYTES, DotProduct
from ingot.targets.cpu.kernels.words.staged_rows import ElementLoader, stage_rows
from ingot.targets.cpu.kernels.words.tile import WordTile
from ingot.targets.cpu.kernels.words.tiled_matmul import TiledMatmul
from ingot.targets.cpu.kernels.words.weights import WordWeights
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# Loads a word: the row of the result, and the group of the reduction.
_Rows = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]


def write_word_matmul(kernel: FusedKernel[WordMatmulAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a matmul of words and of its epilogue."""
    emitter = Emitter()
    length, strides = kernel.anchor.depth, kernel.anchor.strides
    source, result = kernel.operands[0], kernel.epilogue.result
    leading, columns = list(result.shape[:-1]), int(result.shape[-1])
    panels = Panels(columns, cpu.float_lanes, kernel.anchor.vectors)

    def decode(row: tirx.Expr) -> list[tirx.Expr]:
        return decode_row(row, leading)

    kernel = dataclasses.replace(kernel, epilogue=kernel.epilogue.by_rows(emitter, decode))
    weights = WordWeights.of(kernel.operands, kernel.anchor.packing)
    element = row_loader(emitter, source, decode, strides)
    extent = row_extent(leading)
    if weights.tile_groups:
        sums = TileSums(emitter, kernel, weights, panels)
        adjoining = all(stride == 1 for stride in strides)
        TiledMatmul(sums, cpu, length, extent, element, adjoining).write()
    else:
        tile = WordTile(
            emitter, kernel, weights, panels, DotProduct.of_word(kernel.anchor.packing.word, cpu)
        )
        _Writer(tile, cpu, length, element).write(extent)
    operations = 2 * extent * length * columns if isinstance(extent, int) else None
    family = "integer_matmul" if kernel.anchor.packing.word == "uint8" else "bfloat16_matmul"
    return prim_func(kernel.parameters, emitter.body(), family=family, operations=operations)


@dataclasses.dataclass(frozen=True)
class _Writer:
    """A matmul while it is written.

    Attributes:
        tile: Writes its tiles.
        cpu: The processor.
        length: Length of the reduction.
        element: Loads one or several elements of a row of the source.
    """

    tile: WordTile
    cpu: CpuDescription
    length: int
    element: ElementLoader

    def write(self, extent: int | tirx.Expr) -> None:
        """Writes the code for a number of rows, known or not."""
        if isinstance(extent, int):
            self._static_rows(extent)
        else:
            self._dynamic_rows(extent)

    @property
    def _bytes(self) -> int:
        """Bytes of a row of the source, and of a column of the weights."""
        return self.length * WORD_BYTES // self.tile.dot.group

    def _static_rows(self, extent: int) -> None:
        emitter, panels = self.tile.emitter, self.tile.panels
        vectors = min(panels.vectors, -(-panels.columns // panels.lanes))
        runs = split_rows(extent, vectors, self.cpu, self.tile.dot.step)
        tiles = sum(run.count for run in runs)
        operations = 2 * extent * self.length * panels.columns
        blocking = choose_blocking(
            row_units=tiles,
            row_bytes=self._bytes * extent / tiles,
            panels=panels.count,
            panel_bytes=float(self._bytes * panels.width),
            operations=operations / 2,
            cpu=self.cpu,
        )
        across = self._goes_across(blocking)
        tallest = max(run.rows for run in runs)

        def emit_task(task: tirx.Expr) -> None:
            group = part(task // index(blocking.row_blocks), panels.count, blocking.panel_groups)
            block = part(task % index(blocking.row_blocks), tiles, blocking.row_blocks)
            bounds = (emitter.bind("first_tile", block[0]), emitter.bind("last_tile", block[1]))
            most = tallest * -(-tiles // blocking.row_blocks)
            word = self._rows(first_row_of(runs, bounds[0]), index(extent), most)

            def tiles_of(panel: tirx.Expr, columns: int) -> None:
                for run, tile, first in tiles_of_runs(emitter, runs, bounds, "tiles"):
                    share = (tile - bounds[0], -(-tiles // blocking.row_blocks))
                    self._tile(first, run.rows, panel, columns, word, share)

            def panels_of(first: tirx.Expr, rows: int) -> None:
                each_panel(
                    emitter,
                    panels,
                    group,
                    lambda panel, columns: self._tile(first, rows, panel, columns, word),
                )

            if across:
                for run, _, first in tiles_of_runs(emitter, runs, bounds, "row"):
                    panels_of(first, run.rows)
            else:
                each_panel(emitter, panels, group, tiles_of)

        share_tasks(emitter, blocking.tasks, operations // 2, emit_task, self.cpu)

    def _goes_across(self, blocking: Blocking) -> bool:
        """Whether a task goes across its panels, tile by tile.

        The result is then written in the order in which it lies in memory, and all the weights are
        read again for each tile: from the first-level cache, or it costs more than it gains.
        """
        panels = self.tile.panels
        group_bytes = self._bytes * panels.width * -(-panels.count // blocking.panel_groups)
        return group_bytes <= self.cpu.core.l1d_bytes

    def _dynamic_rows(self, extent: tirx.Expr) -> None:
        """Full tiles in blocks, then one of several narrower tiles for the remainder."""
        emitter, panels = self.tile.emitter, self.tile.panels
        rows = most_rows(panels.vectors, self.cpu, self.tile.dot.step)
        blocks, bounds_of = dynamic_blocks(extent, rows)
        with emitter.parallel(blocks, "task") as block:
            low, high = bounds_of(block)
            low, high = emitter.bind("low", low), emitter.bind("high", high)
            word = self._rows(low * index(rows), extent, rows * (TILES_OF_A_DYNAMIC_BLOCK + 1))
            last_block = (block + 1).equal(blocks)

            def rows_of(panel: tirx.Expr, columns: int) -> None:
                tiles = tiles_of_block(emitter, extent, rows, (low, high), last_block)
                for first, height in tiles:
                    self._tile(first, height, panel, columns, word)

            each_panel(emitter, panels, (index(0), index(panels.count)), rows_of)

    def _tile(
        self,
        first: tirx.Expr,
        rows: int,
        panel: tirx.Expr,
        columns: int,
        word: _Rows,
        share: tuple[tirx.Expr, int] | None = None,
    ) -> None:
        self.tile.write(
            rows,
            panel,
            columns,
            lambda row, _, group: word(first + index(row), group),
            lambda row: [first + index(row)],
            share,
        )

    def _rows(self, first: tirx.Expr, extent: tirx.Expr, most: int) -> _Rows:
        """Returns what loads words of rows, copied first where K is not a multiple of four.

        Args:
            first: The first row that is read.
            extent: Rows of the matrix.
            most: How many are read at most.
        """
        dot = self.tile.dot
        size = dot.group
        if self.length % size == 0:
            return lambda row, group: self.element(row, vector_at(group * index(size), size))
        staged = stage_rows(
            self.tile.emitter, self.element, self.length, (first, extent), most, self.cpu, dot.word
        )
        return lambda row, group: load(staged, row - first, vector_at(group * index(size), size))
