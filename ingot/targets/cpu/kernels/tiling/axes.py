"""The axes of an image that a window slides along, and how a row of the result is cut along one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.tiling.tiles import Run
from ingot.targets.cpu.kernels.writing.emission import index


@dataclasses.dataclass(frozen=True)
class Axis:
    """A spatial axis of a convolution.

    Attributes:
        size: Of the input.
        result: Of the output.
        kernel: Taps.
        stride: Step between outputs, in inputs.
        padding: Zeros before the input.
        dilation: Distance of two taps.
    """

    size: int
    result: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def inside(self, output: int, tap: int) -> bool:
        """Whether a tap of an output falls on the input."""
        return 0 <= output * self.stride - self.padding + tap * self.dilation < self.size

    def source(self, output: tirx.Expr, tap: int | tirx.Expr) -> tirx.Expr:
        """The input's position under a tap of an output."""
        return output * index(self.stride) + index(tap) * index(self.dilation) - index(self.padding)

    @property
    def padded(self) -> bool:
        """Whether some tap of some output falls into the padding."""
        return not all(
            self.inside(output, tap)
            for output in (0, self.result - 1)
            for tap in (0, self.kernel - 1)
        )

    def taps(self, output: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        """The first tap of an output that falls on the input, and one more than the last."""
        if not self.padded:
            return index(0), index(self.kernel)
        first = output * index(self.stride) - index(self.padding)
        step = index(self.dilation)
        low = tirx.Max(index(0), (step - 1 - first) // step)
        high = tirx.Min(index(self.kernel), (index(self.size) - first + step - 1) // step)
        return low, high


@dataclasses.dataclass(frozen=True)
class Window:
    """What slides over an image: its two axes, height first.

    Attributes:
        kernel: Taps.
        strides: Steps between outputs, in inputs.
        padding: Elements before the image.
        dilation: Distances of two taps.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def axes(
        self, sizes: Sequence[int | tirx.Expr], results: Sequence[int | tirx.Expr]
    ) -> tuple[Axis, Axis]:
        """Returns the axes of an image of known size, height first.

        Args:
            sizes: The image's height and width.
            results: Those of the result.
        """
        height, width = (
            Axis(
                int(sizes[axis]),
                int(results[axis]),
                self.kernel[axis],
                self.strides[axis],
                self.padding[axis],
                self.dilation[axis],
            )
            for axis in range(2)
        )
        return height, width


@dataclasses.dataclass(frozen=True)
class Segment:
    """Equal tiles of a row of the image in which the same taps fall on the input.

    Attributes:
        start: The first pixel.
        count: Number of tiles.
        pixels: Pixels of each.
        rows_by_tap: Per tap along the row, the pixels of a tile that take part.
    """

    start: int
    count: int
    pixels: int
    rows_by_tap: tuple[tuple[int, ...], ...]

    @property
    def whole(self) -> bool:
        """Whether all pixels take part at each tap."""
        return all(len(rows) == self.pixels for rows in self.rows_by_tap)


def segments(axis: Axis, runs: Sequence[Run]) -> list[Segment]:
    """Cuts tiles of a row of the image by their taps; equal neighbours are joined."""
    found: list[Segment] = []
    for run in runs:
        for tile in range(run.count):
            start = run.start + tile * run.rows
            taps = tuple(
                tuple(p for p in range(run.rows) if axis.inside(start + p, tap))
                for tap in range(axis.kernel)
            )
            last = found[-1] if found else None
            if last is not None and (last.pixels, last.rows_by_tap) == (run.rows, taps):
                found[-1] = dataclasses.replace(last, count=last.count + 1)
            else:
                found.append(Segment(start, 1, run.rows, taps))
    return found
