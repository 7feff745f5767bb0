"""Matmul with packed weights, and what is one: fully connected layers, 1x1 convolution in NHWC.

The result's rows are the product of all its leading axes, so that neither a small batch nor a small
image leaves tiles half full. The weights come as [panel][K][panel width]: a tile reads them as
one stream, and its rows as a few more, along K. A tile accumulates over all of K in registers;
splitting K to keep a panel in the first-level cache was measured slower (the prefetchers hide the
second level, storing and reloading partial sums is not hidden).

A task goes down the rows panel by panel. Where a tensor as large as the result is added to it, and
the weights fit the second-level cache, it goes across the panels tile by tile instead: result and
addend are then touched in the order in which they lie in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import MatmulAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel, matrix_view
from ingot.targets.cpu.kernels.fusion.gating import Gate
from ingot.targets.cpu.kernels.tiling.blocking import MOST_SHARES, Blocking, choose_blocking, part
from ingot.targets.cpu.kernels.tiling.conflicts import (
    COLUMNS_WORTH_A_COPY,
    CopiedRows,
    apart,
    worth_a_copy,
)
from ingot.targets.cpu.kernels.tiling.matrix_rows import (
    MOST_GROUPS,
    TILES_OF_A_DYNAMIC_BLOCK,
    decode_row,
    dynamic_blocks,
    dynamic_groups,
    first_row_of,
    row_extent,
    row_loader,
    tiles_of_block,
    tiles_of_runs,
)
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators, each_panel
from ingot.targets.cpu.kernels.tiling.tiles import Panels, Run, most_rows, split_rows
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CACHE_LINE_BYTES, CpuDescription

# Tiles of a block of unknown many rows where these are copied: what is copied stays in the
# second-level cache.
_TILES_OF_A_COPIED_BLOCK = 8


@dataclasses.dataclass
class _Matmul:
    """A matmul while it is written.

    Attributes:
        emitter: Where the statements go.
        kernel: The fused prim func.
        cpu: The processor.
        weights: [panel][K][panel width], further axes of one element or kernel taps between.
        panels: The columns' panels.
        depth: Length of the reduction.
        row_operand: Loads the element of a row at a step.
        stride: Elements from a row to the next in memory.
        gate: What scales the rows first, if anything does.
    """

    emitter: Emitter
    kernel: FusedKernel[MatmulAnchor]
    cpu: CpuDescription
    weights: tirx.Buffer
    panels: Panels
    depth: int
    row_operand: Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
    stride: int
    gate: Gate | None = None

    def tile(
        self,
        first_row: tirx.Expr,
        rows: int,
        panel: tirx.Expr,
        columns: int,
        share: tuple[tirx.Expr, int] | None = None,
        copied: CopiedRows | None = None,
    ) -> None:
        """Writes the code of one tile.

        Args:
            first_row: Its first row.
            rows: Number of its rows.
            panel: Its panel.
            columns: Columns of the panel.
            share: Which of how many tiles of the panel this is, where each is to ask for its share
                of the next panel's weights.
            copied: Holds its rows, where they were copied or scaled.
        """
        emitter, lanes = self.emitter, self.panels.lanes
        vectors = -(-columns // lanes)
        for row in range(rows):
            position = [first_row + index(row), panel * index(self.panels.width)]
            self.kernel.epilogue.prefetch(emitter, position, columns)
        accumulators = Accumulators(emitter, rows, vectors, lanes)
        middle = [0] * (len(self.weights.shape) - 3)

        def operand(row: int, at: tirx.Expr) -> tirx.Expr:
            if copied is not None:
                return copied.load(first_row + index(row), at)
            return self.row_operand(first_row + index(row), at)

        def step(k: tirx.Expr) -> None:
            accumulators.step(
                k,
                operand,
                lambda vector, at: load(
                    self.weights, panel, *middle, at, vector_at(vector * lanes, lanes)
                ),
            )

        done = 0
        if share is not None and 1 < share[1] <= MOST_SHARES:
            tile, tiles = share
            parts = -(-self.depth // tiles)
            steps = self.depth // parts
            done = parts * steps
            with emitter.loop(parts, "share") as number:
                ahead = tile * index(parts) + number
                for column in range(0, self.panels.width, CACHE_LINE_BYTES // 4):
                    emitter.prefetch(
                        self.weights, panel + index(1), *middle, ahead, column, level=2
                    )
                with emitter.loop(steps, "k") as k:
                    step(number * index(steps) + k)
        if done < self.depth:
            with emitter.loop(self.depth - done, "k", start=done) as k:
                step(k)
        accumulators.store(
            self.kernel.epilogue,
            lambda row: [first_row + index(row)],
            panel * index(self.panels.width),
            columns,
        )


def write_matmul(kernel: FusedKernel[MatmulAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a matmul and of its epilogue.

    A prologue is the product of its rows, [N, H, W, K], with the third parameter, [N, 1, 1, K].
    """
    emitter = Emitter()
    rows_buffer, weights = kernel.parameters[0], kernel.parameters[1]
    result = kernel.epilogue.result
    leading = list(result.shape[:-1])
    depth, columns = kernel.anchor.depth, int(result.shape[-1])
    panels = Panels(columns, cpu.float_lanes, kernel.anchor.vectors)

    def decode(row: tirx.Expr) -> list[tirx.Expr]:
        return decode_row(row, leading)

    epilogue = kernel.epilogue.by_rows(emitter, decode)
    kernel = dataclasses.replace(kernel, epilogue=epilogue)
    strides = kernel.anchor.strides
    row_operand = row_loader(emitter, rows_buffer, decode, strides, kernel.anchor.taps)
    gate = None
    if kernel.prologue:
        factors = matrix_view(emitter, kernel.parameters[2])
        gate = Gate(matrix_view(emitter, rows_buffer), factors, int(leading[1]) * int(leading[2]))
    stride = depth // kernel.anchor.taps * (strides[-1] if strides else 1)
    matmul = _Matmul(emitter, kernel, cpu, weights, panels, depth, row_operand, stride, gate)
    extent = row_extent(leading)
    if isinstance(extent, int):
        _static_rows(matmul, extent)
        operations = 2 * extent * depth * columns
    else:
        _dynamic_rows(matmul, extent)
        operations = None
    return prim_func(kernel.parameters, emitter.body(), family="matmul", operations=operations)


@dataclasses.dataclass(frozen=True)
class _Grid:
    """How a matmul with a known number of rows is cut.

    Attributes:
        runs: Its tiles.
        blocking: Its tasks.
        across: Whether a task's weights fit into the second-level cache beside what else is there.
    """

    runs: tuple[Run, ...]
    blocking: Blocking
    across: bool

    @classmethod
    def of(cls, extent: int, depth: int, panels: Panels, cpu: CpuDescription) -> _Grid:
        vectors = min(panels.vectors, -(-panels.columns // panels.lanes))
        runs = split_rows(extent, vectors, cpu)
        tiles = sum(run.count for run in runs)
        panel_bytes = 4 * depth * panels.width
        blocking = choose_blocking(
            row_units=tiles,
            row_bytes=4.0 * depth * extent / tiles,
            panels=panels.count,
            panel_bytes=float(panel_bytes),
            operations=2.0 * extent * depth * panels.columns,
            cpu=cpu,
        )
        group_bytes = panel_bytes * -(-panels.count // blocking.panel_groups)
        return cls(runs, blocking, group_bytes <= cpu.core.resident_bytes)

    @property
    def tiles(self) -> int:
        """Number of tiles along the rows."""
        return sum(run.count for run in self.runs)


def can_scale_rows(extent: int, depth: int, panels: Panels, cpu: CpuDescription) -> bool:
    """Whether a matmul can scale its rows itself: each of them once, for all the panels."""
    grid = _Grid.of(extent, depth, panels, cpu)
    return grid.across and grid.blocking.panel_groups == 1


def _static_rows(matmul: _Matmul, extent: int) -> None:
    panels, emitter = matmul.panels, matmul.emitter
    grid = _Grid.of(extent, matmul.depth, panels, matmul.cpu)
    runs, blocking, tiles = grid.runs, grid.blocking, grid.tiles
    largest_block = -(-tiles // blocking.row_blocks)
    across = grid.across and matmul.kernel.epilogue.reads_streams
    tallest = max(run.rows for run in runs)
    columns = panels.columns // blocking.panel_groups
    copies = matmul.gate is None and worth_a_copy(tallest, matmul.stride, columns, matmul.cpu)

    def emit_task(task: tirx.Expr) -> None:
        group = part(task // index(blocking.row_blocks), panels.count, blocking.panel_groups)
        block = part(task % index(blocking.row_blocks), tiles, blocking.row_blocks)
        low, high = emitter.bind("first_tile", block[0]), emitter.bind("last_tile", block[1])

        copied = None
        if copies:
            bounds = first_row_of(runs, low), first_row_of(runs, high)
            copied = CopiedRows.copy(
                emitter, matmul.row_operand, bounds, largest_block * tallest, matmul.depth
            )

        def tiles_of(panel: tirx.Expr, columns: int) -> None:
            for run, tile, first in tiles_of_runs(emitter, runs, (low, high), "tiles"):
                share = tile - low, largest_block
                matmul.tile(first, run.rows, panel, columns, share, copied)

        scaled = None
        if matmul.gate is not None:
            scaled = emitter.allocate("scaled", [tallest, apart(matmul.depth)])

        def panels_of(first: tirx.Expr, rows: int) -> None:
            held = copied
            if matmul.gate is not None and scaled is not None:
                matmul.gate.scale(emitter, scaled, first, rows, matmul.cpu)
                held = CopiedRows(scaled, first)

            def tile(panel: tirx.Expr, columns: int) -> None:
                matmul.tile(first, rows, panel, columns, copied=held)

            each_panel(emitter, panels, group, tile)

        if across or scaled is not None:
            for run, _, first in tiles_of_runs(emitter, runs, (low, high), "row"):
                panels_of(first, run.rows)
        else:
            each_panel(emitter, panels, group, tiles_of)

    operations = 2 * extent * matmul.depth * panels.columns
    share_tasks(emitter, blocking.tasks, operations, emit_task, matmul.cpu)


def _dynamic_rows(matmul: _Matmul, extent: tirx.Expr) -> None:
    """Full tiles in blocks, then one of several narrower tiles for the remainder."""
    panels, emitter = matmul.panels, matmul.emitter
    rows = most_rows(panels.vectors, matmul.cpu)
    copies = worth_a_copy(rows, matmul.stride, panels.columns, matmul.cpu)
    tiles = _TILES_OF_A_COPIED_BLOCK if copies else TILES_OF_A_DYNAMIC_BLOCK
    blocks, bounds_of = dynamic_blocks(extent, rows, tiles)
    most_groups = panels.columns // COLUMNS_WORTH_A_COPY if copies else MOST_GROUPS
    groups = dynamic_groups(panels.count, min(MOST_GROUPS, most_groups))
    with emitter.parallel(blocks * index(groups), "task") as task:
        group, block = emitter.bind("group", task // blocks), emitter.bind("block", task % blocks)

        bounds, last_block = bounds_of(block), (block + 1).equal(blocks)
        copied = None
        if copies:
            end = tirx.Select(last_block, extent, bounds[1] * index(rows))
            copied = CopiedRows.copy(
                emitter,
                matmul.row_operand,
                (bounds[0] * index(rows), emitter.bind("end", end)),
                (tiles + 1) * rows - 1,
                matmul.depth,
            )

        def rows_of(panel: tirx.Expr, columns: int) -> None:
            for first, height in tiles_of_block(emitter, extent, rows, bounds, last_block):
                matmul.tile(first, height, panel, columns, copied=copied)

        each_panel(emitter, panels, part(group, panels.count, groups), rows_of)
