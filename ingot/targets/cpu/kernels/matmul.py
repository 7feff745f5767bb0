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
import math
from collections.abc import Callable, Iterator, Sequence

from tvm import sym, tirx

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
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators, each_panel
from ingot.targets.cpu.kernels.tiling.tiles import Panels, Run, most_rows, split_rows
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CACHE_LINE_BYTES, CpuDescription

# Tiles of a row block where the number of rows is known only at run time.
TILES_OF_A_DYNAMIC_BLOCK = 32
# The same where they are copied: what is copied stays in the second-level cache.
_TILES_OF_A_COPIED_BLOCK = 8
# Parts that the panels are cut into there.
_MOST_GROUPS = 32


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
    row_operand = row_loader(emitter, rows_buffer, decode, strides)
    gate = None
    if kernel.prologue:
        factors = matrix_view(emitter, kernel.parameters[2])
        gate = Gate(matrix_view(emitter, rows_buffer), factors, int(leading[1]) * int(leading[2]))
    stride = depth * (strides[-1] if strides else 1)
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


def first_row_of(runs: Sequence[Run], tile: tirx.Expr) -> tirx.Expr:
    """Returns the first row of a tile by its number; one more than the last row for the last."""
    first: tirx.Expr = index(0)
    for run in runs:
        here = tirx.Max(tirx.Min(tile, index(run.count)), index(0))
        first = first + here * index(run.rows)
        tile = tile - index(run.count)
    return first


def tiles_of_runs(
    emitter: Emitter, runs: Sequence[Run], bounds: tuple[tirx.Expr, tirx.Expr], name: str
) -> Iterator[tuple[Run, tirx.Expr, tirx.Expr]]:
    """Opens a loop over the tiles of each run in turn, in a machine function of its own.

    Yields:
        The run, the tile's number, and its first row.
    """
    before = 0
    for run in runs:
        low, high = bounds
        if len(runs) > 1:
            low = tirx.Max(low, index(before))
            high = tirx.Min(high, index(before + run.count))
        with (
            emitter.function(name),
            emitter.loop(high - low, "tile", start=low) as tile,
        ):
            yield run, tile, (tile - index(before)) * index(run.rows) + index(run.start)
        before += run.count


def _dynamic_rows(matmul: _Matmul, extent: tirx.Expr) -> None:
    """Full tiles in blocks, then one of several narrower tiles for the remainder."""
    panels, emitter = matmul.panels, matmul.emitter
    rows = most_rows(panels.vectors, matmul.cpu)
    copies = worth_a_copy(rows, matmul.stride, panels.columns, matmul.cpu)
    tiles = _TILES_OF_A_COPIED_BLOCK if copies else TILES_OF_A_DYNAMIC_BLOCK
    blocks, bounds_of = dynamic_blocks(extent, rows, tiles)
    most_groups = panels.columns // COLUMNS_WORTH_A_COPY if copies else _MOST_GROUPS
    groups = dynamic_groups(panels.count, min(_MOST_GROUPS, most_groups))
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


def dynamic_blocks(
    extent: tirx.Expr, rows: int, tiles_of_a_block: int = TILES_OF_A_DYNAMIC_BLOCK
) -> tuple[tirx.Expr, Callable[[tirx.Expr], tuple[tirx.Expr, tirx.Expr]]]:
    """Returns how many blocks a dynamic extent has, and what gives a block's bounds in full tiles.

    There is at least one block, for the remainder, which belongs to the last.
    """
    full, tiles = extent // index(rows), index(tiles_of_a_block)
    blocks = tirx.Max((full + tiles - 1) // tiles, index(1))
    return blocks, lambda block: (block * tiles, tirx.Min((block + 1) * tiles, full))


def tiles_of_block(
    emitter: Emitter,
    extent: tirx.Expr,
    rows: int,
    bounds: tuple[tirx.Expr, tirx.Expr],
    last_block: tirx.Expr,
) -> Iterator[tuple[tirx.Expr, int]]:
    """Opens a loop over a block's full tiles, then a condition for each height of a remainder.

    Args:
        emitter: Where the statements go.
        extent: Rows of the matrix.
        rows: Rows of a full tile.
        bounds: The block's first tile, and one more than its last.
        last_block: Whether the block is the last one, which has the remainder.

    Yields:
        A tile's first row, and the number of its rows.
    """
    low, high = bounds
    with emitter.function("tiles"), emitter.loop(high - low, "tile", start=low) as tile:
        yield tile * index(rows), rows
    for remainder in range(1, rows):
        left_over = (extent % index(rows)).equal(index(remainder))
        with emitter.when(tirx.all(left_over, last_block)), emitter.function("tile"):
            yield extent - index(remainder), remainder


def row_loader(
    emitter: Emitter,
    buffer: tirx.Buffer,
    decode: Callable[[tirx.Expr], list[tirx.Expr]],
    strides: Sequence[int],
) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
    """Returns what loads elements of a row of a matmul's left operand.

    Args:
        emitter: Where a view of the buffer is declared.
        buffer: The operand, its last axis being the reduction.
        decode: Returns the coordinates in the result for a row.
        strides: Of a 1x1 convolution that skips pixels, along the axes after the first.
    """
    if all(stride == 1 for stride in strides):
        matrix = matrix_view(emitter, buffer)
        return lambda row, at: load(matrix, row, at)
    steps = [index(stride) for stride in (1, *strides)]

    def strided(row: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        return load(buffer, *(i * step for i, step in zip(decode(row), steps, strict=True)), at)

    return strided


def dynamic_groups(panels: int, most: int = _MOST_GROUPS) -> int:
    """Returns how many parts to cut panels into where the rows are unknown: fewer where equal."""
    candidates = range(1, min(panels, most) + 1)
    return min(candidates, key=lambda groups: (-(-panels // groups) * groups - panels, -groups))


def decode_row(row: tirx.Expr, sizes: list[tirx.Expr]) -> list[tirx.Expr]:
    """Returns the coordinates of a row in the axes that it was made of."""
    coordinates: list[tirx.Expr] = []
    for size in reversed(sizes[1:]):
        coordinates.insert(0, row % size)
        row = row // size
    return [row, *coordinates] if sizes else []


def row_extent(sizes: list[tirx.Expr]) -> int | tirx.Expr:
    """Returns the number of rows that leading axes make, an int where they are known."""
    if all(isinstance(size, tirx.IntImm) for size in sizes):
        return math.prod(int(size.value) for size in sizes)
    extent: tirx.Expr = index(1)
    for size in sizes:
        extent = extent * size
    return sym.Analyzer().simplify(extent)
