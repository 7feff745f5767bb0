"""Convolution, direct, in NHWC with packed weights.

A tile is a few neighbouring pixels of one row of the image by a panel of output channels. For each
tap of the kernel it is a matmul along the input channels, on the image as it lies in memory:
nothing is copied into columns. Taps that fall into the padding are not multiplied at all: rows of
the kernel outside of the image are left out of the loop's bounds, and tiles at the left and right
edge have code of their own, in which the affected pixels do not take part. Georganas et al.,
"Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures" (2018).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import ConvolutionAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.axes import Axis, Segment, segments
from ingot.targets.cpu.kernels.tiling.blocking import choose_blocking, part
from ingot.targets.cpu.kernels.tiling.microkernel import (
    Accumulators,
    each_panel,
    each_panel_of_groups,
)
from ingot.targets.cpu.kernels.tiling.staging import StagedRows
from ingot.targets.cpu.kernels.tiling.tiles import Panels, split_rows
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    index,
    load,
    prim_func,
    vector_at,
)
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# An image of few channels lies channels first, and neighbouring taps of it are not neighbours. From
# this many multiply-adds per output on, copying rows of it pays (ResNet-50's 7x7 layer runs 1.5
# times as fast); below (3x3 on three channels) the copy costs more than it gains.
_DEPTH_WORTH_A_COPY = 64
# Tiles at an image's edges have code of their own, a loop per tap: with more of them than this,
# compiling takes its time, and rows are copied with the padding around them instead.
_MOST_TAPS_AT_EDGES = 96


@dataclasses.dataclass(frozen=True)
class PartSums:
    """Sums over some of the input's channels, of a row of the image.

    Attributes:
        buffer: [rows, width, panel width]: where the sums over the channels before are.
        row: The row in it.
        channels: The channels to add.
        last: Whether these are the last.
    """

    buffer: tirx.Buffer
    row: tirx.Expr
    channels: range
    last: bool


@dataclasses.dataclass
class _Convolution:
    """A convolution while it is written.

    Attributes:
        emitter: Where the statements go.
        kernel: The fused prim func.
        cpu: The processor.
        height: The vertical axis.
        width: The horizontal axis.
        channels: The image's channels of a group.
        groups: Groups of channels.
        panels: The panels of one group's columns.
        channels_first: Whether the image is NCHW.
        staged: The rows that are read instead of the image, the padding around them.
        unpadded: The image's width where rows are staged for taps that fall on padding.
    """

    emitter: Emitter
    kernel: FusedKernel[ConvolutionAnchor]
    cpu: CpuDescription
    height: Axis
    width: Axis
    channels: int
    groups: int
    panels: Panels
    channels_first: bool
    staged: StagedRows | None = None
    unpadded: Axis | None = None

    def source(self, image: tirx.Expr, y: tirx.Expr, x: tirx.Expr, channel: tirx.Expr) -> tirx.Expr:
        if self.staged is not None:
            return load(self.staged.buffer, y - self.staged.first, x, channel)
        if self.channels_first:
            return load(self.kernel.parameters[0], image, channel, y, x)
        return load(self.kernel.parameters[0], image, y, x, channel)

    def pixel_row(
        self,
        image: tirx.Expr,
        y: tirx.Expr,
        panel: tirx.Expr,
        columns: int,
        part_sums: PartSums | None = None,
    ) -> None:
        """Writes the code of a row of the image for a panel."""
        vectors = -(-columns // self.panels.lanes)
        runs = split_rows(self.width.result, vectors, self.cpu)
        for segment in segments(self.width, runs):
            with (
                self.emitter.function("segment"),
                self.emitter.loop(segment.count, "tile") as tile,
            ):
                start = index(segment.start) + tile * index(segment.pixels)
                self.tile(image, y, start, segment, panel, columns, part_sums)

    def tile(
        self,
        image: tirx.Expr,
        y: tirx.Expr,
        start: tirx.Expr,
        segment: Segment,
        panel: tirx.Expr,
        columns: int,
        part_sums: PartSums | None,
    ) -> None:
        """Writes the code of one tile."""
        emitter, lanes = self.emitter, self.panels.lanes
        first_column = self._first_column(panel)
        last = part_sums is None or part_sums.last
        for pixel in range(segment.pixels if last else 0):
            position = [image, y, start + index(pixel), first_column]
            self.kernel.epilogue.prefetch(emitter, position, columns)
        accumulators = Accumulators(emitter, segment.pixels, -(-columns // lanes), lanes)
        if part_sums is not None and part_sums.channels.start:
            accumulators.exchange(part_sums.buffer, [part_sums.row, start], store=False)
        low, high = self.height.taps(y)
        extent: int | tirx.Expr = high - low if self.height.padded else self.height.kernel
        with emitter.loop(extent, "tap_y", start=low) as tap_y:
            source_y = self.height.source(y, tap_y)
            channels = range(self.channels) if part_sums is None else part_sums.channels
            self._taps(accumulators, image, source_y, start, segment, panel, tap_y, channels)
        if part_sums is not None and not last:
            accumulators.exchange(part_sums.buffer, [part_sums.row, start], store=True)
            return
        accumulators.store(
            self.kernel.epilogue,
            lambda pixel: [image, y, start + index(pixel)],
            first_column,
            columns,
        )

    def _taps(
        self,
        accumulators: Accumulators,
        image: tirx.Expr,
        y: tirx.Expr,
        start: tirx.Expr,
        segment: Segment,
        panel: tirx.Expr,
        tap_y: tirx.Expr,
        channels: range,
    ) -> None:
        emitter, lanes = self.emitter, self.panels.lanes
        weights, width = self.kernel.parameters[1], self.width
        first_channel = self._group_channel(panel)
        whole = len(channels) == self.channels and segment.whole
        contiguous = whole and width.dilation == 1 and self.groups == 1

        def step(tap: int | tirx.Expr, at: tirx.Expr, rows: tuple[int, ...]) -> None:
            accumulators.step(
                at,
                lambda pixel, k: self.source(
                    image, y, width.source(start + index(pixel), tap), first_channel + k
                ),
                lambda vector, k: load(
                    weights, panel, tap_y, tap, k, vector_at(vector * lanes, lanes)
                ),
                rows,
            )

        everyone = tuple(range(segment.pixels))
        if self.unpadded is not None:
            low, high = self._taps_of_any(self.unpadded, start, segment.pixels)
            if contiguous:
                size = index(self.channels)
                with emitter.loop((high - low) * size, "k", start=low * size) as k:
                    step(0, k, everyone)
            else:
                with (
                    emitter.loop(high - low, "tap_x", start=low) as tap_x,
                    emitter.loop(len(channels), "k", start=channels.start) as k,
                ):
                    step(tap_x, k, everyone)
        elif self.channels_first and self.staged is None:
            for tap, rows in enumerate(segment.rows_by_tap):
                for channel in range(self.channels if rows else 0):
                    step(tap, index(channel), rows)
        elif contiguous:
            # Neighbouring taps lie behind one another, in the image and in the weights.
            with emitter.loop(width.kernel * self.channels, "k") as k:
                step(0, k, everyone)
        else:
            for tap, rows in enumerate(segment.rows_by_tap):
                if rows:
                    with emitter.loop(len(channels), "k", start=channels.start) as k:
                        step(tap, k, rows)

    def _taps_of_any(
        self, width: Axis, start: tirx.Expr, pixels: int
    ) -> tuple[tirx.Expr, tirx.Expr]:
        """The taps that fall on the image for any of a tile's pixels: the first, and the end."""
        low = width.taps(start + index(pixels - 1))[0]
        return self.emitter.bind("low", low), self.emitter.bind("high", width.taps(start)[1])

    def _group_channel(self, panel: tirx.Expr) -> tirx.Expr:
        """The first input channel of the group that a panel belongs to."""
        if self.groups == 1:
            return index(0)
        return panel // index(self.panels.count) * index(self.channels)

    def _first_column(self, panel: tirx.Expr) -> tirx.Expr:
        """The result's first column of a panel."""
        width, count = index(self.panels.width), index(self.panels.count)
        if self.groups == 1 or not self.panels.last_columns:
            return panel * width
        return panel // count * index(self.panels.columns) + panel % count * width

    def each_panel(
        self, bounds: tuple[tirx.Expr, tirx.Expr], body: Callable[[tirx.Expr, int], None]
    ) -> None:
        """Goes through panels, or through groups where these end with narrower panels."""
        emitter, panels = self.emitter, self.panels
        if self.groups == 1:
            each_panel(emitter, panels, bounds, body)
        elif not panels.last_columns:
            columns = panels.columns * self.groups
            each_panel(emitter, dataclasses.replace(panels, columns=columns), bounds, body)
        else:
            each_panel_of_groups(emitter, panels, bounds, body)

    @property
    def panel_units(self) -> int:
        """Number of what :meth:`each_panel` goes through."""
        if self.groups > 1 and self.panels.last_columns:
            return self.groups
        return self.groups * self.panels.count


def write_convolution(kernel: FusedKernel[ConvolutionAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a convolution and of its epilogue."""
    emitter = Emitter()
    anchor = kernel.anchor
    image, weights = kernel.parameters[0], kernel.parameters[1]
    batch, *results, columns = kernel.epilogue.result.shape
    sizes = image.shape[2:4] if anchor.channels_first else image.shape[1:3]
    height, width = anchor.window.axes(sizes, results)
    panels = Panels(int(columns) // anchor.groups, anchor.lanes, anchor.vectors)
    convolution = _Convolution(
        emitter,
        kernel,
        cpu,
        height,
        width,
        int(weights.shape[3]),
        anchor.groups,
        panels,
        anchor.channels_first,
    )
    operations = _write_tasks(convolution, batch)
    return prim_func(kernel.parameters, emitter.body(), family="convolution", operations=operations)


def _write_tasks(convolution: _Convolution, batch: tirx.Expr) -> int | None:
    emitter, panels, height = convolution.emitter, convolution.panels, convolution.height
    per_image = (
        2 * height.result * convolution.width.result * panels.columns * convolution.groups
        * height.kernel * convolution.width.kernel * convolution.channels
    )  # fmt: skip
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    depth = height.kernel * convolution.width.kernel * convolution.channels
    staged = (
        depth >= _DEPTH_WORTH_A_COPY
        if convolution.channels_first
        else _taps_at_edges(convolution) > _MOST_TAPS_AT_EDGES
    )
    source_channels = convolution.channels * convolution.groups
    # Blocks of rows that are staged, or of images whose number is unknown, lie in one image.
    joined = images if images and not staged else 1
    units = height.result * joined
    blocking = choose_blocking(
        row_units=units,
        row_bytes=4.0 * convolution.width.size * source_channels * height.stride,
        panels=convolution.panel_units,
        panel_bytes=4.0
        * math.prod(int(size) for size in convolution.kernel.parameters[1].shape)
        / convolution.panel_units,
        operations=float(per_image * joined),
        cpu=convolution.cpu,
    )
    apart = images // joined if images else batch
    tasks = blocking.tasks * apart if images else index(blocking.tasks) * batch

    def emit_task(task: tirx.Expr) -> None:
        offset: tirx.Expr = index(0)
        if not (isinstance(apart, int) and apart == 1):
            offset = task // index(blocking.tasks) * index(height.result)
            task = task % index(blocking.tasks)
        group, block = task // index(blocking.row_blocks), task % index(blocking.row_blocks)
        low, high = part(block, units, blocking.row_blocks)
        low = emitter.bind("first_row", low + offset)
        high = emitter.bind("last_row", high + offset)
        most = -(-units // blocking.row_blocks)
        writer = convolution
        if staged:
            writer = _stage(convolution, low, high, most)

        parts = _channel_blocks(convolution)
        sums = None
        if len(parts) > 1:
            shape = [most, convolution.width.result, panels.width]
            sums = emitter.allocate("part_sums", shape)

        def rows_of(panel: tirx.Expr, columns: int) -> None:
            for channels in parts:
                with emitter.loop(high - low, "row", start=low) as row:
                    image = emitter.bind("image", row // index(height.result))
                    y = emitter.bind("y", row % index(height.result))
                    added = None
                    if sums is not None:
                        added = PartSums(sums, row - low, channels, channels is parts[-1])
                    writer.pixel_row(image, y, panel, columns, added)

        convolution.each_panel(part(group, convolution.panel_units, blocking.panel_groups), rows_of)

    total = per_image * images if images else None
    share_tasks(emitter, tasks, total or batch * index(per_image), emit_task, convolution.cpu)
    return total


def _taps_at_edges(convolution: _Convolution) -> int:
    """Taps along the width that the code of tiles at the left and right edge spells out."""
    width, panels = convolution.width, convolution.panels
    runs = split_rows(
        width.result, min(panels.vectors, -(-panels.columns // panels.lanes)), convolution.cpu
    )
    edges = [segment for segment in segments(width, runs) if not segment.whole]
    return sum(bool(rows) for segment in edges for rows in segment.rows_by_tap)


def _channel_blocks(convolution: _Convolution) -> list[range]:
    """Blocks of the input's channels such that a block of a panel's weights fits the cache.

    Each tile of a panel reads the panel's weights; from the third-level cache they come too slowly.
    """
    kernel, channels = convolution.kernel, convolution.channels
    panel_bytes = 4 * math.prod(int(size) for size in kernel.parameters[1].shape[1:])
    blocks = math.ceil(panel_bytes / convolution.cpu.core.resident_bytes)
    if blocks == 1 or channels < blocks or convolution.channels_first:
        return [range(channels)]
    return [
        range(channels * block // blocks, channels * (block + 1) // blocks)
        for block in range(blocks)
    ]


def _stage(convolution: _Convolution, low: tirx.Expr, high: tirx.Expr, most: int) -> _Convolution:
    """Copies what rows ``low … high - 1`` of one image need; at most ``most`` rows."""
    height, width = convolution.height, convolution.width
    emitter = convolution.emitter
    image = emitter.bind("image", low // index(height.result))
    first = emitter.bind("first_y", low % index(height.result))
    rows = StagedRows.copy(
        emitter,
        convolution.kernel.parameters[0],
        (height, width),
        image,
        first,
        high - low,
        most,
        channels_first=convolution.channels_first,
    )
    return dataclasses.replace(
        convolution,
        height=dataclasses.replace(height, size=rows.rows_of_image, padding=0),
        width=dataclasses.replace(width, size=int(rows.buffer.shape[1]), padding=0),
        staged=rows,
        unpadded=None if convolution.channels_first else width,
    )
