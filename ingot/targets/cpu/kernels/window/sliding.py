"""Windows that slide over each channel by itself, in NHWC: depthwise convolution and pooling.

A tile is a block of neighbouring pixels of the result by a vector of channels, in registers. Every
pixel of the input under it is loaded once and combined with all the accumulators that have it under
one of their taps: at stride 1, a row of ``p`` pixels takes ``p + k - 1`` loads for ``p · k``
multiply-adds. Tiles at the image's edges have code of their own, in which the taps that fall into
the padding do not occur. Where that would be too much code (large windows), the rows of the window
become a loop with bounds.

The channels of a tile's pixels run innermost: the input is read as it lies in memory, in a few
streams. Channels that do not fill their last vector need no masks: the last vector begins earlier
and computes some of its neighbour's channels a second time, to the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import WindowAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.axes import Axis, Segment, segments
from ingot.targets.cpu.kernels.tiling.blocking import part
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.window.tiles import (
    WindowShape,
    WindowTile,
    choose_window_tasks,
    choose_window_tile,
    runs_of,
    vector_lanes,
)
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    as_float,
    index,
    load,
    prim_func,
    splat,
    vector_at,
)
from ingot.targets.cpu.machine import CpuDescription

# Combines an accumulator, a value of the input and, where there are weights, the tap's weight.
Combine = Callable[[tirx.Expr, tirx.Expr, "tirx.Expr | None"], tirx.Expr]
# Loads a vector of the input, given the image, the row, the pixel, and a ramp of channels.
Read = Callable[[tirx.Expr, tirx.Expr, tirx.Expr, tirx.Expr], tirx.Expr]


@dataclasses.dataclass
class SlidingWindow:
    """A kernel while it is written.

    Attributes:
        emitter: Where the statements go.
        kernel: The kernel.
        shape: What the window slides over.
        tile: The size of a tile.
        initial: What accumulators begin with.
        combine: What a tap does to an accumulator.
        read: Loads from the input.
    """

    emitter: Emitter
    kernel: FusedKernel[WindowAnchor]
    shape: WindowShape
    tile: WindowTile
    initial: float
    combine: Combine
    read: Read

    def emit_tile(
        self,
        image: tirx.Expr,
        places: tuple[tirx.Expr, tirx.Expr],
        sizes: tuple[Segment, Segment],
        channel: tirx.Expr,
    ) -> None:
        """Writes the code of one tile.

        Args:
            image: Its image.
            places: Its first row and its first pixel.
            sizes: Its rows and its pixels, with the taps that fall on the input.
            channel: Its first channel.
        """
        emitter, vectors, lanes = self.emitter, self.tile.vectors, self.shape.lanes
        (y, x), (rows, pixels) = places, sizes
        accumulators = Accumulators(
            emitter, rows.pixels * pixels.pixels, vectors, lanes, self.initial
        )
        height = self.shape.height
        if self.tile.written_out:
            for offset, users in users_under(rows, height).items():
                source = y * index(height.stride) + index(offset - height.padding)
                taps = [(row, index(tap)) for row, tap in users]
                self._source_row(accumulators, (image, source, x), pixels, taps, channel)
        else:
            low, high = height.taps(y)
            with emitter.loop(high - low, "tap_y", start=low) as tap:
                source = height.source(y, tap)
                self._source_row(accumulators, (image, source, x), pixels, [(0, tap)], channel)
        accumulators.store(
            self.kernel.epilogue,
            lambda pixel: [
                image,
                y + index(pixel // pixels.pixels),
                x + index(pixel % pixels.pixels),
            ],
            channel,
            vectors * lanes,
        )

    def _source_row(
        self,
        accumulators: Accumulators,
        place: tuple[tirx.Expr, tirx.Expr, tirx.Expr],
        pixels: Segment,
        taps: Sequence[tuple[int, tirx.Expr]],
        channel: tirx.Expr,
    ) -> None:
        """Combines a row of the input with the tile's rows that have it under one of their taps."""
        emitter, width, lanes = self.emitter, self.shape.width, self.shape.lanes
        image, y, x = place
        used = [tap for tap, outputs in enumerate(pixels.rows_by_tap) if outputs]
        for vector in range(self.tile.vectors):
            channels = vector_at(channel + index(vector * lanes), lanes)
            weights: dict[tuple[int, int], tirx.Expr | None] = {
                (row, tap_x): self._weight(tap_y, tap_x, channels)
                for row, tap_y in taps
                for tap_x in used
            }
            for offset, users in users_under(pixels, width).items():
                at = x * index(width.stride) + index(offset - width.padding)
                value = emitter.bind("value", self.read(image, y, at, channels))
                for pixel, tap_x in users:
                    for row, _ in taps:
                        function = self._combining(value, weights[row, tap_x])
                        accumulators.update(row * pixels.pixels + pixel, vector, function)

    def _combining(
        self, value: tirx.Expr, weight: tirx.Expr | None
    ) -> Callable[[tirx.Expr], tirx.Expr]:
        return lambda accumulated: self.combine(accumulated, value, weight)

    def _weight(self, tap_y: tirx.Expr, tap_x: int, channels: tirx.Expr) -> tirx.Expr | None:
        if not self.shape.weighted:
            return None
        weight = as_float(load(self.kernel.operands[1], tap_y, tap_x, channels))
        return self.emitter.bind("weight", weight)

    def emit_rows(
        self,
        image: tirx.Expr,
        rows: tuple[tirx.Expr, tirx.Expr],
        groups: tuple[tirx.Expr, tirx.Expr],
    ) -> None:
        """Writes the code of a range of tiles' rows, for a range of groups of channels."""
        emitter, height, width = self.emitter, self.shape.height, self.shape.width
        runs = runs_of(height, self.tile.rows)
        vertical = (
            segments(height, runs)
            if self.tile.written_out
            else [Segment(0, height.result, 1, ((0,),) * height.kernel)]
        )
        horizontal = segments(width, runs_of(width, self.tile.pixels))
        before = 0
        for down in vertical:
            low = tirx.Max(rows[0], index(before))
            high = tirx.Min(rows[1], index(before + down.count))
            with emitter.loop(high - low, "tile_row", start=low) as number:
                y = emitter.bind(
                    "y", (number - index(before)) * index(down.pixels) + index(down.start)
                )
                for across in horizontal:
                    self._emit_segment(image, y, down, across, groups)
            before += down.count

    def _emit_segment(
        self,
        image: tirx.Expr,
        y: tirx.Expr,
        down: Segment,
        across: Segment,
        groups: tuple[tirx.Expr, tirx.Expr],
    ) -> None:
        emitter = self.emitter
        with emitter.function("window"), emitter.loop(across.count, "tile") as tile:
            x = index(across.start) + tile * index(across.pixels)
            with emitter.loop(groups[1] - groups[0], "group", start=groups[0]) as group:
                self.emit_tile(image, (y, x), (down, across), self._first_channel(group))

    def _first_channel(self, group: tirx.Expr) -> tirx.Expr:
        """The first channel of a group; the last group's vectors end with the channels."""
        width = self.tile.vectors * self.shape.lanes
        if self.shape.channels % width == 0:
            return group * index(width)
        return tirx.Min(group * index(width), index(self.shape.channels - width))


def users_under(segment: Segment, axis: Axis) -> dict[int, list[tuple[int, int]]]:
    """The input's positions under a tile along an axis, with the (output, tap) pairs for each.

    Positions are counted from the first output's first tap and increase: each output combines its
    taps in order.
    """
    users: dict[int, list[tuple[int, int]]] = {}
    for tap, outputs in enumerate(segment.rows_by_tap):
        for output in outputs:
            offset = output * axis.stride + tap * axis.dilation
            users.setdefault(offset, []).append((output, tap))
    return dict(sorted(users.items()))


def window_shape(
    kernel: FusedKernel[WindowAnchor], cpu: CpuDescription, *, weighted: bool
) -> WindowShape:
    """Returns what the window of a kernel slides over."""
    image, result = kernel.operands[0], kernel.epilogue.result
    height, width = kernel.anchor.window.axes(image.shape[1:3], result.shape[1:3])
    channels = int(result.shape[3])
    return WindowShape(height, width, channels, vector_lanes(channels, cpu), weighted)


def write_sliding_window(
    kernel: FusedKernel[WindowAnchor],
    cpu: CpuDescription,
    *,
    family: str,
    initial: float,
    combine: Combine,
    weighted: bool,
) -> tirx.PrimFunc:
    """Writes the code of a window operator and of its epilogue.

    Args:
        kernel: The kernel: an image [N, H, W, C], then weights [kernel height, kernel width, C]
            where there are any, then the zero point where the image holds 8-bit integers, whose
            distance from it is what counts.
        cpu: The processor.
        family: The kernel's family.
        initial: What accumulators begin with.
        combine: What a tap does to an accumulator.
        weighted: Whether there are weights.
    """
    emitter = Emitter()
    image, result = kernel.operands[0], kernel.epilogue.result
    shape = window_shape(kernel, cpu, weighted=weighted)
    tile = choose_window_tile(shape, cpu)
    centre = kernel.operands[2 if weighted else 1 :]

    def read(*place: tirx.Expr) -> tirx.Expr:
        value = as_float(load(image, *place))
        for zero_point in centre:
            value = value - splat(load(zero_point, 0), shape.lanes)
        return value

    window = SlidingWindow(emitter, kernel, shape, tile, initial, combine, read)
    operations = emit_window_tasks(window, result.shape[0], cpu)
    return prim_func(kernel.parameters, emitter.body(), family=family, operations=operations)


def emit_window_tasks(window: SlidingWindow, batch: tirx.Expr, cpu: CpuDescription) -> int | None:
    """Writes the code of all tasks; returns its operations, None where the batch is open."""
    emitter, shape = window.emitter, window.shape
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    per_image = shape.operations
    blocks = choose_window_tasks(shape, window.tile, images or 1, cpu)
    rows = sum(run.count for run in runs_of(shape.height, window.tile.rows))
    small = images is not None and per_image * images < cpu.launch_operations
    tasks: int | tirx.Expr = images * blocks.count if images else batch * index(blocks.count)
    with emitter.loop(tasks, "task") if small else emitter.parallel(tasks, "task") as task:
        image = emitter.bind("image", task // index(blocks.count))
        block = task % index(blocks.count)
        bounds = [
            tuple(emitter.bind(name, value) for value in part(number, units, parts))
            for name, number, units, parts in (
                ("tile_row", block % index(blocks.row_blocks), rows, blocks.row_blocks),
                (
                    "group",
                    block // index(blocks.row_blocks),
                    shape.groups(window.tile.vectors),
                    blocks.channel_blocks,
                ),
            )
        ]
        window.emit_rows(image, bounds[0], bounds[1])
    return None if images is None else per_image * images
