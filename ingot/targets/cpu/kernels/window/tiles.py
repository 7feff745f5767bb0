"""Tiles of windows that slide over each channel by itself: which size, and how they are shared.

Nothing is multiplied by a panel of weights here, so the time of a tile is one of arithmetic, of
loads, and of the input's way from the second-level cache to the first. Taller tiles save the last:
two rows of a 3x3 window share two thirds of the input's rows. The costs below were fitted to
measurements on Zen 3, beside what the processor's description says; what counts is the order in
which they put the tiles.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

from ingot.targets.cpu.kernels.tiling.axes import Axis
from ingot.targets.cpu.kernels.tiling.blocking import divisions
from ingot.targets.cpu.kernels.tiling.tiles import Run, split_evenly
from ingot.targets.cpu.machine import CpuDescription

# What the arithmetic does not hide of the time of loads, and of a vector's way from the second
# level of cache; cycles that a tile takes before and after its arithmetic.
_SHARE_OF_LOADING = 0.3
_SHARE_OF_COMING_FROM_L2 = 0.5
_CYCLES_OF_A_TILE = 6.0

# Permutations of vectors that begin in a cycle, and these and multiply-adds together: one of the
# ports that multiply is the one that permutes, where there are no more of either.
_PERMUTATIONS_PER_CYCLE = 1
_ARITHMETIC_PER_CYCLE = 2

# What is tried at all: registers, and the code with a variant per edge, mostly bind before.
_MOST_ROWS = 4
_MOST_PIXELS = 16
_MOST_VECTORS = 8

MOST_WRITTEN_OUT = 6000
"""Tiles are written out up to this many operations on vectors in all the code of a kernel; beyond,
the rows of the window are looped over."""

# A block of channels jumps from pixel to pixel, which costs as much as so many channels; a block of
# rows reads the rows between it and the next a second time, which costs this share of their time.
_CHANNELS_OF_A_JUMP = 8.0
_SHARE_OF_READING = 0.07


@dataclasses.dataclass(frozen=True)
class WindowTile:
    """The size of a tile.

    Attributes:
        rows: Rows of the result.
        pixels: Neighbouring pixels of a row.
        vectors: Vectors of channels.
        written_out: Whether the rows of the window are written out, not looped over.
    """

    rows: int
    pixels: int
    vectors: int
    written_out: bool = True


@dataclasses.dataclass(frozen=True)
class WindowShape:
    """What a window slides over.

    Attributes:
        height: The vertical axis.
        width: The horizontal axis.
        channels: Number of channels.
        lanes: Channels of a vector.
        weighted: Whether each channel has a weight per tap.
    """

    height: Axis
    width: Axis
    channels: int
    lanes: int
    weighted: bool

    @property
    def taps(self) -> int:
        """Taps of the window."""
        return self.height.kernel * self.width.kernel

    @property
    def operations(self) -> int:
        """Operations for an image: a tap is one, or with a weight two."""
        outputs = self.height.result * self.width.result * self.channels
        return (2 if self.weighted else 1) * outputs * self.taps

    @property
    def permutations(self) -> float:
        """Permutations that a vector of the input takes, for all of its uses."""
        return 0.0

    def held(self, pixels: int) -> int:
        """Returns the vectors of the input that a tile of one row keeps besides accumulators."""
        del pixels
        return 0

    @property
    def patterns(self) -> int:
        """Variants of a tile's code that differ in how the input is read."""
        return 1

    @property
    def most_vectors(self) -> int:
        """Vectors of the widest tile."""
        return min(self.channels // self.lanes, _MOST_VECTORS)

    @property
    def most_written_out(self) -> int:
        """Operations in the code up to which the rows of the window are written out."""
        return MOST_WRITTEN_OUT

    def groups(self, vectors: int) -> int:
        """Groups of so many vectors that the channels are cut into."""
        return -(-self.channels // (vectors * self.lanes))


def vector_lanes(channels: int, cpu: CpuDescription) -> int:
    """Returns the lanes of the widest vector that fits into the machine's and into the channels."""
    return min(cpu.float_lanes, 1 << (channels.bit_length() - 1))


def rows_under(axis: Axis, outputs: int) -> dict[int, list[tuple[int, int]]]:
    """Returns the input's positions under neighbouring outputs, with the taps that meet there.

    Args:
        axis: The axis.
        outputs: Number of outputs.

    Returns:
        Per position, counted from the first output's first tap: the (output, tap) pairs.
    """
    under: dict[int, list[tuple[int, int]]] = {}
    for output, tap in itertools.product(range(outputs), range(axis.kernel)):
        under.setdefault(output * axis.stride + tap * axis.dilation, []).append((output, tap))
    return dict(sorted(under.items()))


@functools.cache
def choose_window_tile(shape: WindowShape, cpu: CpuDescription) -> WindowTile:
    """Chooses the tile with the least estimated time for the whole image."""
    candidates = [
        WindowTile(rows, pixels, vectors)
        for rows in range(1, min(_MOST_ROWS, shape.height.result) + 1)
        for pixels in range(1, min(_MOST_PIXELS, shape.width.result) + 1)
        for vectors in (1, 2, 4, 8)
        if vectors <= shape.most_vectors and (rows * pixels == 1 or vectors == 1)
    ]
    fitting = [tile for tile in candidates if _registers(shape, tile) <= cpu.vector_registers]
    written_out = [tile for tile in fitting if code_size(shape, tile) <= shape.most_written_out]
    if not written_out:
        fitting = [
            dataclasses.replace(tile, written_out=False) for tile in fitting if tile.rows == 1
        ]
    return min(
        written_out or fitting or [WindowTile(1, 1, 1, written_out=False)],
        key=lambda tile: window_cycles(shape, tile, cpu),
    )


def _registers(shape: WindowShape, tile: WindowTile) -> int:
    """Registers of a tile: accumulators, a value of the input, weights that meet it.

    More than a third of the weights' registers LLVM can do without: it multiplies from memory.
    """
    meeting = max(len(pairs) for pairs in rows_under(shape.height, tile.rows).values())
    weights = meeting * shape.width.kernel if shape.weighted else 0
    # Permutations of the next channel, and its weights, begin before the last one's are done.
    held = 2 * min(weights, 3) + 2 if shape.permutations else min(weights, 7) + 1
    return tile.rows * tile.pixels * tile.vectors + held + shape.held(tile.pixels)


def code_size(shape: WindowShape, tile: WindowTile) -> int:
    """Returns the operations on vectors in the code, with a variant per edge."""

    def variants(axis: Axis, size: int) -> int:
        reach = -(-axis.padding // (axis.stride * size)) if axis.padded else 0
        return min(1 + 2 * reach, -(-axis.result // size))

    code = shape.patterns * shape.taps * tile.rows * tile.pixels * tile.vectors
    code *= variants(shape.width, tile.pixels)
    if tile.written_out:
        return code * variants(shape.height, tile.rows)
    return code // shape.height.kernel


def window_cycles(shape: WindowShape, tile: WindowTile, cpu: CpuDescription) -> float:
    """Returns the estimated time for an image, in cycles."""
    height, width, core = shape.height, shape.width, cpu.core
    of_a_load = _SHARE_OF_LOADING / core.loads_per_cycle
    from_l2 = _SHARE_OF_COMING_FROM_L2 * cpu.vector_bytes / core.l2_bytes_per_cycle
    total = 0.0
    for rows, pixels in itertools.product(runs_of(height, tile.rows), runs_of(width, tile.pixels)):
        source_rows = len(rows_under(height, rows.rows))
        outputs = rows.rows * pixels.rows * tile.vectors
        loads = source_rows * len(rows_under(width, pixels.rows)) * tile.vectors
        permutations = loads * shape.permutations
        if shape.weighted:
            loads += rows.rows * shape.taps * tile.vectors
        fresh = source_rows * pixels.rows * width.stride * tile.vectors
        cycles = (
            max(
                shape.taps * max(outputs / core.multiply_adds_per_cycle, core.multiply_add_latency),
                permutations / _PERMUTATIONS_PER_CYCLE,
                (shape.taps * outputs + permutations) / _ARITHMETIC_PER_CYCLE,
            )
            + loads * of_a_load
            + fresh * from_l2
            + _CYCLES_OF_A_TILE
        )
        total += rows.count * pixels.count * cycles
    return total * shape.groups(tile.vectors)


def runs_of(axis: Axis, outputs: int) -> tuple[Run, ...]:
    """Returns the axis cut into tiles of about so many outputs."""
    return split_evenly(axis.result, -(-axis.result // outputs))


@dataclasses.dataclass(frozen=True)
class WindowTasks:
    """How an image is cut into tasks.

    Attributes:
        row_blocks: Parts that the rows of tiles are cut into.
        channel_blocks: Parts that the groups of channels are cut into.
    """

    row_blocks: int
    channel_blocks: int

    @property
    def count(self) -> int:
        """Tasks of an image."""
        return self.row_blocks * self.channel_blocks


def choose_window_tasks(
    shape: WindowShape, tile: WindowTile, images: int, cpu: CpuDescription
) -> WindowTasks:
    """Chooses the tasks that keep some numbers of threads busy, and no more than that."""
    work, launch = images * window_cycles(shape, tile, cpu), cpu.core.launch_cycles
    rows = sum(run.count for run in runs_of(shape.height, tile.rows))
    groups = shape.groups(tile.vectors)
    reach = (shape.height.kernel - 1) * shape.height.dilation + 1 - shape.height.stride
    again = max(0, reach) / shape.height.size

    def time(tasks: WindowTasks) -> float:
        """Time over the ideal, on average of the numbers of threads."""
        largest = math.ceil(rows / tasks.row_blocks) * math.ceil(groups / tasks.channel_blocks)
        share = largest / (images * rows * groups)
        jumps = _CHANNELS_OF_A_JUMP * (tasks.channel_blocks - 1) / shape.channels
        reading = _SHARE_OF_READING * again * (tasks.row_blocks - 1)
        ratios = [
            (launch + work * (1 + reading + jumps) * share
             * math.ceil(images * tasks.count / threads))
            / (launch + work / threads)
            for threads in cpu.thread_counts
        ]  # fmt: skip
        return sum(ratios) / len(ratios)

    candidates = [
        WindowTasks(row_blocks, channel_blocks)
        for row_blocks in divisions(rows)
        for channel_blocks in divisions(groups)
    ]
    return min(candidates, key=lambda tasks: (round(time(tasks), 3), tasks.count))
