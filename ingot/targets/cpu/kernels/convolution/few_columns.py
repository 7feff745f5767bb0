"""Convolution to few output channels, in NHWC: lanes are channels of the image.

With a lane per output channel, three of them leave most of a vector empty. Here a vector holds
neighbouring channels of the image, which lie side by side: a tile of ``p`` pixels by ``c`` output
channels takes, per tap and vector of channels, ``p`` loads of pixels, ``c`` of weights and
``p · c`` multiply-adds, none of them for nothing. Only at its end are the lanes of each accumulator
added, in ``2 · log2(lanes)`` instructions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import FewColumnsAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.axes import Axis, Segment, segments
from ingot.targets.cpu.kernels.tiling.blocking import choose_blocking, part
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.tiling.tiles import MULTIPLY_ADD, most_rows, split_rows
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.lanes import reduce_lanes
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription


def lanes_of(channels: int, cpu: CpuDescription) -> int:
    """Returns the lanes of the widest vectors that an image's channels are whole vectors of."""
    return min(cpu.float_lanes, channels & -channels)


def pixel_cycles(taps: int, channels: int, columns: int, cpu: CpuDescription) -> float:
    """Returns the estimated cycles of a pixel's output channels.

    Args:
        taps: Of the kernel.
        channels: Of the image.
        columns: Output channels.
        cpu: The processor.
    """
    lanes, rows = lanes_of(channels, cpu), most_rows(columns, cpu)
    steps = taps * channels / lanes
    halvings = lanes.bit_length() - 1
    added = columns * 2 * halvings / cpu.core.multiply_adds_per_cycle
    return steps * MULTIPLY_ADD.cycles(rows, columns, cpu.core) / rows + added


@dataclasses.dataclass(frozen=True)
class _FewColumns:
    """A convolution while it is written.

    Attributes:
        emitter: Where the statements go.
        kernel: The fused prim func.
        cpu: The processor.
        height: The vertical axis.
        width: The horizontal axis.
        channels: Channels of the image.
        columns: Output channels.
    """

    emitter: Emitter
    kernel: FusedKernel[FewColumnsAnchor]
    cpu: CpuDescription
    height: Axis
    width: Axis
    channels: int
    columns: int

    @property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return lanes_of(self.channels, self.cpu)

    def write_row(self, image: tirx.Expr, y: tirx.Expr) -> None:
        """Writes the code of a row of the result."""
        emitter = self.emitter
        for segment in segments(self.width, split_rows(self.width.result, self.columns, self.cpu)):
            with emitter.function("segment"), emitter.loop(segment.count, "tile") as tile:
                start = index(segment.start) + tile * index(segment.pixels)
                self._write_tile(image, y, start, segment)

    def _write_tile(
        self, image: tirx.Expr, y: tirx.Expr, start: tirx.Expr, segment: Segment
    ) -> None:
        emitter, width, height = self.emitter, self.width, self.height
        accumulators = Accumulators(emitter, segment.pixels, self.columns, self.lanes)
        zeros = emitter.opaque_buffer(1)
        step = functools.partial(self._step, accumulators, image, start)
        everyone = tuple(range(segment.pixels))
        low, high = height.taps(y)
        extent: int | tirx.Expr = high - low if height.padded else height.kernel
        with emitter.loop(extent, "tap_y", start=low) as tap_y:
            place = (height.source(y, tap_y), tap_y)
            # Loops of a number of steps that LLVM knows would be unrolled, with more vectors in
            # flight than there are registers.
            zero = emitter.bind("zero", load(zeros, 0))
            vectors = self.channels // self.lanes
            if segment.whole and width.dilation == 1:
                # Neighbouring taps lie behind one another, in the image and in the weights.
                with emitter.loop(zero + index(width.kernel * vectors), "vector") as vector:
                    step(place, 0, vector, everyone)
            else:
                for tap, rows in enumerate(segment.rows_by_tap):
                    if rows:
                        with emitter.loop(zero + index(vectors), "vector") as vector:
                            step(place, tap, vector, rows)
        self._store(accumulators, [image, y], start)

    def _step(
        self,
        accumulators: Accumulators,
        image: tirx.Expr,
        start: tirx.Expr,
        place: tuple[tirx.Expr, tirx.Expr],
        tap_x: int,
        vector: tirx.Expr,
        rows: Sequence[int],
    ) -> None:
        """Multiplies a vector of channels of some pixels with those of all output channels."""
        emitter, (y, tap_y) = self.emitter, place
        source, weights = self.kernel.parameters[:2]
        at = vector_at(vector * index(self.lanes), self.lanes)
        factors = [
            emitter.bind("weights", load(weights, column, tap_y, tap_x, at))
            for column in range(self.columns)
        ]
        for row in rows:
            x = self.width.source(start + index(row), tap_x)
            value = emitter.bind("value", load(source, image, y, x, at))
            for column, factor in enumerate(factors):
                accumulators.update(row, column, functools.partial(_added, value, factor))

    def _store(self, accumulators: Accumulators, row: list[tirx.Expr], start: tirx.Expr) -> None:
        emitter = self.emitter
        wide = 1 << (self.columns - 1).bit_length()
        for pixel in range(accumulators.rows):
            sums = emitter.allocate("sums", [wide])
            for column in range(self.columns):
                total = reduce_lanes(
                    emitter, accumulators.vector(pixel, column), self.lanes, lambda a, b: a + b
                )
                emitter.store(sums, total, [column])
            self.kernel.epilogue.store(
                emitter, sums, 0, [*row, start + index(pixel), index(0)],
                lanes=wide, valid=self.columns,
            )  # fmt: skip


def _added(value: tirx.Expr, factor: tirx.Expr, total: tirx.Expr) -> tirx.Expr:
    return total + value * factor


def write_few_columns(kernel: FusedKernel[FewColumnsAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a convolution to few output channels and of its epilogue."""
    emitter = Emitter()
    image = kernel.parameters[0]
    batch, *results, columns = kernel.epilogue.result.shape
    height, width = kernel.anchor.window.axes(image.shape[1:3], results)
    channels = int(image.shape[3])
    writer = _FewColumns(emitter, kernel, cpu, height, width, channels, int(columns))
    per_image = (
        2 * height.result * width.result * int(columns) * height.kernel * width.kernel * channels
    )
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    weights_bytes = 4.0 * height.kernel * width.kernel * channels * int(columns)
    blocks = choose_blocking(
        row_units=height.result,
        row_bytes=4.0 * width.size * channels * height.stride,
        panels=1,
        panel_bytes=weights_bytes,
        operations=float(per_image * (images or 1)),
        cpu=cpu,
    ).row_blocks

    def emit_task(task: tirx.Expr) -> None:
        number = emitter.bind("image", task // index(blocks))
        low, high = part(task % index(blocks), height.result, blocks)
        with emitter.loop(high - low, "row", start=low) as y:
            writer.write_row(number, y)

    tasks: int | tirx.Expr = images * blocks if images else batch * index(blocks)
    total = per_image * images if images else None
    share_tasks(emitter, tasks, total or batch * index(per_image), emit_task, cpu)
    return prim_func(kernel.parameters, emitter.body(), family="few_columns", operations=total)
