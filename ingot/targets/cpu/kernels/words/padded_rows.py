"""Rows of an image of bytes or bfloat16, copied with the padding around them."""

from __future__ import annotations

import dataclasses

from tvm import tirx

from ingot.targets.cpu.bfloat16 import bits_of
from ingot.targets.cpu.kernels.tiling.axes import Axis
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at
from ingot.targets.cpu.machine import CpuDescription


@dataclasses.dataclass(frozen=True)
class PaddedRows:
    """Rows of an image, copied with the padding around them, channels last.

    Attributes:
        buffer: [rows, elements of a padded row].
        first: The padded image's row that the buffer begins with.
    """

    buffer: tirx.Buffer
    first: tirx.Expr


@dataclasses.dataclass(frozen=True)
class PaddedImage:
    """An image whose rows are copied before they are read.

    Attributes:
        emitter: Where the statements go.
        source: uint8 or bfloat16, NHWC or NCHW.
        cpu: The processor.
        height: The vertical axis.
        width: The horizontal axis.
        channels: Channels of the image.
        channels_first: Whether it is NCHW.
        zero_point: What the padding holds, in the type of the copies.
        beyond_row: Elements that may be read beyond a row's last pixel before the next row begins.
        beyond_rows: Elements that may be read beyond the last row.
    """

    emitter: Emitter
    source: tirx.Buffer
    cpu: CpuDescription
    height: Axis
    width: Axis
    channels: int
    channels_first: bool
    zero_point: tirx.Expr
    beyond_row: int
    beyond_rows: int = 0

    @property
    def padded_width(self) -> int:
        """Pixels of a padded row that the result reads."""
        width = self.width
        return (width.result - 1) * width.stride + (width.kernel - 1) * width.dilation + 1

    @property
    def _lanes(self) -> int:
        """Elements of a vector."""
        return self.cpu.vector_bytes * 8 // int(self.source.dtype.bits)

    def copy(self, image: tirx.Expr, first: tirx.Expr, results: tirx.Expr, most: int) -> PaddedRows:
        """Copies what some rows of the result read.

        Args:
            image: Which image.
            first: The first of these rows.
            results: How many.
            most: How many at most.
        """
        emitter, height, width = self.emitter, self.height, self.width
        reach = (height.kernel - 1) * height.dilation + 1
        padded, channels = self.padded_width, self.channels
        length = padded * channels + self.beyond_row
        rows = (most - 1) * height.stride + reach + -(-self.beyond_rows // length)
        buffer = emitter.allocate("staged", [rows, length], str(self.zero_point.ty.dtype))
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
        emitter, channels = self.emitter, self.channels
        with emitter.loop(pixels, "x") as x:
            place = index(start) + x * index(channels)
            if self.channels_first:
                for channel in range(channels):
                    value = bits_of(load(self.source, image, channel, y, x))
                    emitter.store(buffer, value, [row, place + index(channel)])
                return
            step = self._lanes
            for first in range(0, channels, step):
                lanes = min(step, channels - first)
                value = bits_of(load(self.source, image, y, x, vector_at(first, lanes)))
                emitter.store(buffer, value, [row, vector_at(place + index(first), lanes)])

    def _fill(self, buffer: tirx.Buffer, row: tirx.Expr, start: int, end: int) -> None:
        emitter, zero, step = self.emitter, self.zero_point, self._lanes
        whole = (end - start) // step
        if whole:
            with emitter.loop(whole, "vector") as number:
                place = vector_at(index(start) + number * index(step), step)
                emitter.store(buffer, tirx.Broadcast(zero, step), [row, place])
        for at in range(start + whole * step, end):
            emitter.store(buffer, zero, [row, index(at)])
