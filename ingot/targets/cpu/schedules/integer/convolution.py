"""Integer convolution, direct, in NHWC with packed weights.

A task first copies the rows of the image that it reads, with the padding around them: a padded
pixel holds the zero point, which stands for zero. Behind that, the taps of a row of the kernel are
neighbours in memory, as are their weights, and the sum over them and over the channels is one
stream of four values at a time, without an edge to look after. The copy costs a byte per byte; it
is read as often as there are taps and panels of output channels.
"""

from __future__ import annotations

import dataclasses
import math

from tvm import tirx

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.schedules.axes import Axis
from ingot.targets.cpu.schedules.blocking import choose_blocking, part
from ingot.targets.cpu.schedules.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.schedules.epilogue import FusedKernel
from ingot.targets.cpu.schedules.integer.dot import GROUP, DotProduct
from ingot.targets.cpu.schedules.integer.tile import IntegerTile, IntegerWeights
from ingot.targets.cpu.schedules.microkernel import each_panel
from ingot.targets.cpu.schedules.tasks import share_tasks
from ingot.targets.cpu.schedules.tiles import Panels, split_rows


@dataclasses.dataclass(frozen=True)
class PaddedRows:
    """Rows of an image, copied with the padding around them, channels last.

    Attributes:
        buffer: uint8 [rows, bytes of a padded row].
        first: The padded image's row that the buffer begins with.
    """

    buffer: tirx.Buffer
    first: tirx.Expr


@dataclasses.dataclass(frozen=True)
class _Writer:
    """A convolution while it is written.

    Attributes:
        tile: Writes its tiles.
        cpu: The processor.
        height: The vertical axis.
        width: The horizontal axis.
        channels: Channels of the image, of all groups.
        groups: Groups of channels.
        channels_first: Whether the image is NCHW.
        zero_point: What the padding holds.
    """

    tile: IntegerTile
    cpu: CpuDescription
    height: Axis
    width: Axis
    channels: int
    groups: int
    channels_first: bool
    zero_point: tirx.Expr

    @property
    def padded_width(self) -> int:
        """Pixels of a padded row that the result reads."""
        width = self.width
        return (width.result - 1) * width.stride + (width.kernel - 1) * width.dilation + 1

    @property
    def joined_taps(self) -> bool:
        """Whether the taps of a row of the kernel are neighbours, in memory and in the sum."""
        return self.width.dilation == 1 and self.groups == 1

    def copy_rows(
        self, image: tirx.Expr, first: tirx.Expr, results: tirx.Expr, most: int
    ) -> PaddedRows:
        """Copies what some rows of the result read.

        Args:
            image: Which image.
            first: The first of these rows.
            results: How many.
            most: How many at most.
        """
        emitter, height, width = self.tile.emitter, self.height, self.width
        reach = (height.kernel - 1) * height.dilation + 1
        padded, channels = self.padded_width, self.channels
        # The last sum of a row may read up to three bytes beyond it.
        length = padded * channels + GROUP
        buffer = emitter.allocate("staged", [(most - 1) * height.stride + reach, length], "uint8")
        before = min(width.padding, padded)
        taken = min(width.size, padded - before)
        top = emitter.bind("top", first * index(height.stride))
        with emitter.loop((results - 1) * index(height.stride) + index(reach), "staged_row") as row:
            y = emitter.bind("source_y", top + row - index(height.padding))
            inside = emitter.bind("inside", tirx.all(y >= 0, y < index(height.size)))
            start, end = before * channels, (before + taken) * channels
            with emitter.when(inside):
                self._copy(buffer, row, image, y, start, taken)
            with emitter.when(tirx.Not(inside)):
                self._fill(buffer, row, start, end)
            self._fill(buffer, row, 0, start)
            self._fill(buffer, row, end, length)
        return PaddedRows(buffer, top)

    def _copy(
        self,
        buffer: tirx.Buffer,
        row: tirx.Expr,
        image: tirx.Expr,
        y: tirx.Expr,
        start: int,
        pixels: int,
    ) -> None:
        emitter, channels = self.tile.emitter, self.channels
        source = self.tile.kernel.operands[0]
        with emitter.loop(pixels, "x") as x:
            place = index(start) + x * index(channels)
            if self.channels_first:
                for channel in range(channels):
                    value = load(source, image, channel, y, x)
                    emitter.store(buffer, value, [row, place + index(channel)])
                return
            step = self.cpu.vector_bytes
            for first in range(0, channels, step):
                lanes = min(step, channels - first)
                value = load(source, image, y, x, vector_at(first, lanes))
                emitter.store(buffer, value, [row, vector_at(place + index(first), lanes)])

    def _fill(self, buffer: tirx.Buffer, row: tirx.Expr, start: int, end: int) -> None:
        zero = self.zero_point
        step = self.cpu.vector_bytes
        emitter = self.tile.emitter
        whole = (end - start) // step
        if whole:
            with emitter.loop(whole, "vector") as number:
                place = vector_at(index(start) + number * index(step), step)
                emitter.store(buffer, tirx.Broadcast(zero, step), [row, place])
        for at in range(start + whole * step, end):
            emitter.store(buffer, zero, [row, index(at)])

    def write_row(
        self, rows: PaddedRows, image: tirx.Expr, y: tirx.Expr, panel: tirx.Expr, columns: int
    ) -> None:
        """Writes the code of a row of the result for a panel."""
        emitter, width = self.tile.emitter, self.width
        vectors = -(-columns // self.tile.panels.lanes)
        top = emitter.bind("staged_top", y * index(self.height.stride) - rows.first)
        channel = self._first_channel(panel)
        for run in split_rows(width.result, vectors, self.cpu, self.tile.dot.step):
            with emitter.function("segment"), emitter.loop(run.count, "tile") as tile:
                start = index(run.start) + tile * index(run.rows)

                def word(
                    row: int, tap: tirx.Expr, group: tirx.Expr, start: tirx.Expr = start
                ) -> tirx.Expr:
                    pixel = (start + index(row)) * index(width.stride)
                    place = pixel * index(self.channels) + channel + self._offset(group)
                    at = top + tap * index(self.height.dilation)
                    return load(rows.buffer, at, vector_at(place, GROUP))

                def position(row: int, start: tirx.Expr = start) -> list[tirx.Expr]:
                    return [image, y, start + index(row)]

                self.tile.write(run.rows, panel, columns, word, position)

    def _offset(self, group: tirx.Expr) -> tirx.Expr:
        """Where in a padded row a group's values lie, from the first tap on."""
        if self.joined_taps:
            return group * index(GROUP)
        of_tap = -(-self.channels // self.groups // GROUP)
        tap = group // index(of_tap) * index(self.width.dilation * self.channels)
        return tap + group % index(of_tap) * index(GROUP)

    def _first_channel(self, panel: tirx.Expr) -> tirx.Expr:
        """The first input channel of the group that a panel belongs to."""
        if self.groups == 1:
            return index(0)
        panels = self.tile.panels.count // self.groups
        return panel // index(panels) * index(self.channels // self.groups)


def schedule_integer_convolution(kernel: FusedKernel, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of an integer convolution and of its epilogue.

    The anchor's annotations give ``kernel``, ``strides``, ``padding`` (before), ``dilation``,
    ``groups``, ``channels_first`` (how the image lies), the panels' ``vectors``, and what
    :class:`IntegerWeights` asks for. The operand behind the weights is the image's zero point.
    """
    emitter = Emitter()
    notes = kernel.annotations
    image, result = kernel.operands[0], kernel.epilogue.result
    batch, *_, columns = result.shape
    first = bool(notes["channels_first"])
    height, width = (
        Axis(
            int(image.shape[axis + (2 if first else 1)]),
            int(result.shape[axis + 1]),
            *(int(notes[name][axis]) for name in ("kernel", "strides", "padding", "dilation")),
        )
        for axis in range(2)
    )
    panels = Panels(int(columns), cpu.float_lanes, int(notes["vectors"]))
    writer = _Writer(
        IntegerTile(emitter, kernel, IntegerWeights.of(kernel), panels, DotProduct.of(cpu)),
        cpu,
        height,
        width,
        int(image.shape[1 if first else 3]),
        int(notes["groups"]),
        first,
        emitter.bind("zero_point", load(kernel.operands[1 + int(notes["weights"])], 0)),
    )
    per_image = _write_tasks(writer, batch)
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    operations = None if images is None else images * per_image
    return prim_func(
        kernel.parameters, emitter.body(), family="integer_convolution", operations=operations
    )


def _write_tasks(writer: _Writer, batch: tirx.Expr) -> int:
    """Writes the tasks; returns the operations of an image."""
    tile, height, width = writer.tile, writer.height, writer.width
    emitter, panels = tile.emitter, tile.panels
    per_image = (
        2 * height.result * width.result * panels.columns
        * height.kernel * width.kernel * writer.channels // writer.groups
    )  # fmt: skip
    blocking = choose_blocking(
        row_units=height.result,
        row_bytes=float(width.size * writer.channels * height.stride),
        panels=panels.count,
        panel_bytes=float(math.prod(int(size) for size in tile.weights.packed.shape[1:])),
        operations=per_image / 2,
        cpu=writer.cpu,
    )
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    tasks = blocking.tasks * images if images else index(blocking.tasks) * batch
    work = images * per_image // 2 if images else batch * index(per_image // 2)

    def emit_task(task: tirx.Expr) -> None:
        image = emitter.bind("image", task // index(blocking.tasks))
        task = task % index(blocking.tasks)
        group, block = task // index(blocking.row_blocks), task % index(blocking.row_blocks)
        bounds = part(block, height.result, blocking.row_blocks)
        low, high = emitter.bind("first_row", bounds[0]), emitter.bind("last_row", bounds[1])
        most = -(-height.result // blocking.row_blocks)
        rows = writer.copy_rows(image, low, high - low, most)

        def rows_of(panel: tirx.Expr, columns: int) -> None:
            with emitter.loop(high - low, "row", start=low) as y:
                writer.write_row(rows, image, y, panel, columns)

        each_panel(emitter, panels, part(group, panels.count, blocking.panel_groups), rows_of)

    share_tasks(emitter, tasks, work, emit_task)
    return per_image
