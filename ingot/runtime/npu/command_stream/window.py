"""What a kernel sees of its input: size, upscaling and padding.

No register holds the input's height and width. They follow from the result's, the kernel, its
stride and the padding, and count after upscaling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.decode import CommandError, Opcode
from ingot.runtime.npu.command_stream.memory import Memory
from ingot.runtime.npu.command_stream.registers import (
    FeatureMap,
    Kernel,
    Padding,
    Registers,
    Upscale,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Window:
    """A kernel over an input.

    Attributes:
        values: The input, upscaled and not padded: height by width by depth.
        zero_point: The value that stands for 0.
        kernel: The kernel.
        padding: What surrounds the input.
        area: Height and width of the result.
    """

    values: Array
    zero_point: int
    kernel: Kernel
    padding: Padding
    area: tuple[int, int]

    def padded(self, values: Array, fill: int) -> Array:
        """Returns an array like ``values`` with the padding around it."""
        rows = (self.padding.top, self.padding.bottom)
        columns = (self.padding.left, self.padding.right)
        if not self.padding:
            return values
        return np.pad(values, (rows, columns, (0, 0)), constant_values=fill)

    def taps(self, padded: Array) -> Iterator[tuple[int, int, Array]]:
        """Yields row, column and what is under it for each element of the kernel.

        Args:
            padded: The padded input.

        Yields:
            The element's row and column and a view of ``area`` by depth.
        """
        (step_y, step_x), (spread_y, spread_x) = self.kernel.stride, self.kernel.dilation
        height, width = self.area
        for row in range(self.kernel.height):
            rows = slice(row * spread_y, row * spread_y + (height - 1) * step_y + 1, step_y)
            for column in range(self.kernel.width):
                left = column * spread_x
                columns = slice(left, left + (width - 1) * step_x + 1, step_x)
                yield row, column, padded[rows, columns]


def read_window(registers: Registers, memory: Memory) -> Window:
    """Reads the input of a convolution or pooling.

    Raises:
        CommandError: The registers do not describe an input, or it lies outside of its memory.
    """
    kernel, padding = registers.kernel(), registers.padding()
    height, width, _ = registers.ofm_shape()
    sizes = (
        (result - 1) * step + extent - before - after
        for result, step, extent, before, after in zip(
            (height, width),
            kernel.stride,
            kernel.extent,
            (padding.top, padding.left),
            (padding.bottom, padding.right),
            strict=True,
        )
    )
    rows, columns = sizes
    if rows < 1 or columns < 1:
        raise CommandError(f"its padding leaves an input of {rows} by {columns}")
    ifm = registers.feature_map("IFM")
    depth = registers.size(Opcode.SET_IFM_DEPTH_M1)
    values = read_upscaled(memory, ifm, registers.upscale(), (rows, columns, depth))
    return Window(values, ifm.zero_point, kernel, padding, (height, width))


def read_upscaled(
    memory: Memory, ifm: FeatureMap, upscale: Upscale, shape: tuple[int, int, int]
) -> Array:
    """Returns a feature map of a shape after upscaling by 2 in height and width.

    Args:
        memory: Where it lies.
        ifm: The feature map.
        upscale: How each element becomes four: repeated, or followed by zeros.
        shape: Height, width and depth after upscaling.
    """
    if upscale is Upscale.NONE:
        return memory.read(ifm, shape)
    height, width, depth = shape
    source = memory.read(ifm, ((height + 1) // 2, (width + 1) // 2, depth))
    if upscale is Upscale.NEAREST:
        return source.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    result = np.full(shape, ifm.zero_point, ifm.dtype)
    result[::2, ::2] = source
    return result
