"""Convolution of words, direct, in NHWC with packed weights.

A task first copies the rows of the image that it reads, bytes or bfloat16, with the padding around
them: a padded pixel holds the zero point, which stands for zero. Behind that, the taps of a row of
the kernel are neighbours in memory, as are their weights, and the sum over them and over the
channels is one stream of words, without an edge to look after. The copy costs a byte per byte; it
is read as often as there are taps and panels of output channels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import WordConvolutionAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.blocking import choose_blocking, part
from ingot.targets.cpu.kernels.tiling.microkernel import each_panel, each_panel_of_groups
from ingot.targets.cpu.kernels.tiling.tiles import Panels, split_rows
from ingot.targets.cpu.kernels.words.amx import TileSums
from ingot.targets.cpu.kernels.words.dot import GROUP_OF, STAGED, DotProduct
from ingot.targets.cpu.kernels.words.padded_rows import PaddedImage, PaddedRows
from ingot.targets.cpu.kernels.words.tile import WordTile
from ingot.targets.cpu.kernels.words.tiled_convolution import TiledConvolution, elements_beyond
from ingot.targets.cpu.kernels.words.weights import WordWeights
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription


@dataclasses.dataclass(frozen=True)
class _Writer:
    """A convolution in vectors while it is written.

    Attributes:
        sums: Writes its tiles.
        image: What it reads.
        groups: Groups of channels.
        of_group: The panels of a group's columns.
    """

    sums: WordTile
    image: PaddedImage
    groups: int
    of_group: Panels

    @property
    def joined_taps(self) -> bool:
        """Whether the taps of a row of the kernel are neighbours, in memory and in the sum."""
        return self.image.width.dilation == 1 and self.groups == 1

    def task(
        self, rows: PaddedRows, number: tirx.Expr, bounds: tuple[tirx.Expr, tirx.Expr], most: int
    ) -> contextlib.AbstractContextManager[Callable[[tirx.Expr, int], None]]:
        """Opens a task; gives what writes the code of its rows for a panel.

        Args:
            rows: The rows that it reads.
            number: Which image.
            bounds: The first row of the result, and one more than the last.
            most: How many rows these are at most.
        """
        low, high = bounds

        def write(panel: tirx.Expr, columns: int) -> None:
            with self.sums.emitter.loop(high - low, "row", start=low) as y:
                self._write_row(rows, (number, y), panel, columns, (y - low, most))

        return contextlib.nullcontext(write)

    def _write_row(
        self,
        rows: PaddedRows,
        row: tuple[tirx.Expr, tirx.Expr],
        panel: tirx.Expr,
        columns: int,
        share: tuple[tirx.Expr, int],
    ) -> None:
        emitter, width, channels = self.sums.emitter, self.image.width, self.image.channels
        image, y = row
        vectors = -(-columns // self.sums.panels.lanes)
        top = emitter.bind("staged_top", y * index(self.image.height.stride) - rows.first)
        channel = self._first_channel(panel)
        runs = split_rows(width.result, vectors, self.image.cpu, self.sums.dot.step)
        tiles, before = sum(run.count for run in runs), 0
        for run in runs:
            with emitter.function("segment"), emitter.loop(run.count, "tile") as tile:
                start = index(run.start) + tile * index(run.rows)

                def word(
                    row: int, tap: tirx.Expr, group: tirx.Expr, start: tirx.Expr = start
                ) -> tirx.Expr:
                    pixel = (start + index(row)) * index(width.stride)
                    place = pixel * index(channels) + channel + self._offset(group)
                    at = top + tap * index(self.image.height.dilation)
                    return load(rows.buffer, at, vector_at(place, self.sums.dot.group))

                def position(row: int, start: tirx.Expr = start) -> list[tirx.Expr]:
                    return [image, y, start + index(row)]

                passes = share[0] * index(tiles) + tile + index(before)
                of_tile = (passes, share[1] * tiles)
                column = self._first_column(panel)
                self.sums.write(run.rows, panel, columns, word, position, of_tile, column)
            before += run.count

    def _offset(self, group: tirx.Expr) -> tirx.Expr:
        """Where in a padded row a group's values lie, from the first tap on."""
        of_word = self.sums.dot.group
        if self.joined_taps:
            return group * index(of_word)
        channels = self.image.channels
        of_tap = -(-channels // self.groups // of_word)
        tap = group // index(of_tap) * index(self.image.width.dilation * channels)
        return tap + group % index(of_tap) * index(of_word)

    def _first_channel(self, panel: tirx.Expr) -> tirx.Expr:
        """The first input channel of the group that a panel belongs to."""
        if self.groups == 1:
            return index(0)
        group = panel // index(self.of_group.count)
        return group * index(self.image.channels // self.groups)

    def _first_column(self, panel: tirx.Expr) -> tirx.Expr:
        """The result's first column of a panel."""
        width, count = index(self.of_group.width), index(self.of_group.count)
        if self.groups == 1:
            return panel * width
        return panel // count * index(self.of_group.columns) + panel % count * width


def write_word_convolution(
    kernel: FusedKernel[WordConvolutionAnchor], cpu: CpuDescription
) -> tirx.PrimFunc:
    """Writes the code of a convolution of words and of its epilogue.

    Of bytes, the operand behind the weights is the image's zero point.
    """
    emitter = Emitter()
    anchor = kernel.anchor
    image, result = kernel.operands[0], kernel.epilogue.result
    batch, *results, columns = result.shape
    first = anchor.channels_first
    height, width = anchor.window.axes(image.shape[2:4] if first else image.shape[1:3], results)
    of_group = Panels(int(columns) // anchor.groups, cpu.float_lanes, anchor.vectors)
    panels = of_group
    if anchor.groups > 1:
        # The weights of each group end with a whole panel.
        packed = anchor.groups * of_group.count * of_group.width
        panels = dataclasses.replace(of_group, columns=packed)
    weights = WordWeights.of(kernel.operands, anchor.packing)
    channels = int(image.shape[1 if first else 3])
    padded = PaddedImage(
        emitter,
        image,
        cpu,
        height,
        width,
        channels,
        first,
        _zero(emitter, kernel),
        # The last sum of a row may read up to a word less one element beyond it.
        beyond_row=0 if weights.tile_groups else GROUP_OF[anchor.packing.word],
        beyond_rows=elements_beyond(width, channels) if weights.tile_groups else 0,
    )
    writer: _Writer | TiledConvolution
    if weights.tile_groups:
        writer = TiledConvolution(TileSums(emitter, kernel, weights, panels), padded)
    else:
        dot = DotProduct.of_word(anchor.packing.word, cpu)
        # Behind the taps of a row comes the next pixel.
        of_row = anchor.window.kernel[1] * channels if anchor.groups == 1 else 0
        half_word = dot.word == "bfloat16" and bool(of_row % dot.group)
        tile = WordTile(emitter, kernel, weights, panels, dot, half_word)
        writer = _Writer(tile, padded, anchor.groups, of_group)
    per_image = _write_tasks(writer, of_group, batch)
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    operations = None if images is None else images * per_image
    family = "integer" if anchor.packing.word == "uint8" else anchor.packing.word
    return prim_func(
        kernel.parameters, emitter.body(), family=f"{family}_convolution", operations=operations
    )


def _zero(emitter: Emitter, kernel: FusedKernel[WordConvolutionAnchor]) -> tirx.Expr:
    """What stands for zero in the image."""
    packing = kernel.anchor.packing
    if packing.word == "uint8":
        return emitter.bind("zero_point", load(kernel.operands[1 + packing.arrays], 0))
    return tirx.const(0, STAGED[packing.word])


def _write_tasks(writer: _Writer | TiledConvolution, of_group: Panels, batch: tirx.Expr) -> int:
    """Writes the tasks; returns the operations of an image."""
    padded, panels, weights = writer.image, writer.sums.panels, writer.sums.weights
    emitter, height, width = padded.emitter, padded.height, padded.width
    reduction = height.kernel * width.kernel * padded.channels // writer.groups
    columns = of_group.columns * writer.groups
    per_image = 2 * height.result * width.result * columns * reduction
    # Panels of unequal widths are gone through group by group.
    by_group = writer.groups > 1 and bool(of_group.last_columns)
    units = writer.groups if by_group else panels.count
    speed = writer.sums.speed
    blocking = choose_blocking(
        row_units=height.result,
        row_bytes=float(width.size * padded.channels * height.stride * weights.element_bytes),
        panels=units,
        panel_bytes=math.prod(map(int, weights.packed.shape)) * weights.element_bytes / units,
        operations=per_image / speed,
        cpu=padded.cpu,
    )
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    tasks = blocking.tasks * images if images else index(blocking.tasks) * batch
    work = images * per_image // speed if images else batch * index(per_image // speed)

    def emit_task(task: tirx.Expr) -> None:
        image = emitter.bind("image", task // index(blocking.tasks))
        task = task % index(blocking.tasks)
        group, block = task // index(blocking.row_blocks), task % index(blocking.row_blocks)
        bounds = part(block, height.result, blocking.row_blocks)
        low, high = emitter.bind("first_row", bounds[0]), emitter.bind("last_row", bounds[1])
        most = -(-height.result // blocking.row_blocks)
        rows = padded.copy(image, low, high - low, most)
        own = part(group, units, blocking.panel_groups)
        with writer.task(rows, image, (low, high), most) as write:
            if by_group:
                each_panel_of_groups(emitter, of_group, own, write)
            else:
                each_panel(emitter, panels, own, write)

    share_tasks(emitter, tasks, work, emit_task, padded.cpu)
    return per_image
