"""The rows of a matrix that leading axes make: where they lie, and how tiles go through them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from tvm import sym, tirx

from ingot.targets.cpu.kernels.fusion.epilogue import matrix_view
from ingot.targets.cpu.kernels.rows.rows import flat
from ingot.targets.cpu.kernels.tiling.tiles import Run
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load

# Tiles of a block of rows where their number is known only at run time.
TILES_OF_A_DYNAMIC_BLOCK = 32
# Parts that the panels are cut into there.
MOST_GROUPS = 32


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


def row_loader(
    emitter: Emitter,
    buffer: tirx.Buffer,
    decode: Callable[[tirx.Expr], list[tirx.Expr]],
    strides: Sequence[int],
    taps: int = 1,
) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
    """Returns what loads elements of a row of a matmul's left operand.

    Args:
        emitter: Where a view of the buffer is declared.
        buffer: The operand, its last axis being the reduction, or a tap's part of it.
        decode: Returns the coordinates in the result for a row.
        strides: Of a convolution, along the axes after the first.
        taps: Neighbouring pixels that a row consists of.
    """
    if taps > 1:
        return _taps_loader(emitter, buffer, decode, strides)
    if all(stride == 1 for stride in strides):
        matrix = matrix_view(emitter, buffer)
        return lambda row, at: load(matrix, row, at)
    steps = [index(stride) for stride in (1, *strides)]

    def strided(row: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        return load(buffer, *(i * step for i, step in zip(decode(row), steps, strict=True)), at)

    return strided


def _taps_loader(
    emitter: Emitter,
    image: tirx.Buffer,
    decode: Callable[[tirx.Expr], list[tirx.Expr]],
    strides: Sequence[int],
) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
    """Loads from the image as one axis: neighbouring pixels of a row lie behind one another."""
    elements = flat(emitter, image)
    _, height, width, channels = image.shape
    stride_y, stride_x = strides

    def taps(row: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        n, y, x = decode(row)
        pixel = (n * height + y * index(stride_y)) * width + x * index(stride_x)
        begin = pixel * channels
        if isinstance(at, tirx.Ramp):
            return load(elements, tirx.Ramp(begin + at.base, at.stride, at.lanes))
        return load(elements, begin + at)

    return taps


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


def dynamic_groups(panels: int, most: int = MOST_GROUPS) -> int:
    """Returns how many parts to cut panels into where the rows are unknown: fewer where equal."""
    candidates = range(1, min(panels, most) + 1)
    return min(candidates, key=lambda groups: (-(-panels // groups) * groups - panels, -groups))
