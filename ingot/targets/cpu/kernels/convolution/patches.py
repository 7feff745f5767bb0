"""Convolution of images whose size is known only when the code runs: patches, as a matmul.

A row of the matrix is the patch of the image under the kernel of one output: its taps, and the
channels of each. The rows of a tile are copied into scratch, zeros where the kernel stands out of
the image, and are multiplied there by all panels of weights: they stay in the cache, and the tile
has neither edges nor bounds to look at. What is copied once is used for all the columns, so that
the copy costs little beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import OpenConvolutionAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.rows.rows import flat
from ingot.targets.cpu.kernels.tiling.matrix_rows import decode_row, dynamic_blocks, row_extent
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators, each_panel
from ingot.targets.cpu.kernels.tiling.staging import copy_run
from ingot.targets.cpu.kernels.tiling.tiles import Panels, most_rows
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    index,
    load,
    prim_func,
    vector_at,
)
from ingot.targets.cpu.machine import CpuDescription

# Tiles of a task: enough to pay for it, few enough that a small image occupies all threads.
_TILES_OF_A_TASK = 4


@dataclasses.dataclass(frozen=True)
class _Axis:
    """A spatial axis: the image's size, and the kernel along it."""

    size: tirx.Expr
    kernel: int
    stride: int
    padding: int
    dilation: int

    def first(self, output: tirx.Expr) -> tirx.Expr:
        """The image's position under the first tap of an output."""
        return output * index(self.stride) - index(self.padding)

    def inside(self, position: tirx.Expr) -> tirx.Expr:
        """Whether a position is one of the image."""
        return tirx.all(position >= index(0), position < self.size)


@dataclasses.dataclass(frozen=True)
class _Patches:
    """The matrix of patches.

    Attributes:
        emitter: Where the statements go.
        image: The image as one axis.
        height: The vertical axis.
        width: The horizontal axis.
        channels: Channels of the image.
        taken: Channels of a patch, those of a group.
        decode: Returns image, row and column of a row of the matrix.
    """

    emitter: Emitter
    image: tirx.Buffer
    height: _Axis
    width: _Axis
    channels: int
    taken: int
    decode: Callable[[tirx.Expr], list[tirx.Expr]]

    @property
    def depth(self) -> int:
        """Elements of a patch."""
        return self.height.kernel * self.width.kernel * self.taken

    def copy(
        self, scratch: tirx.Buffer, first: tirx.Expr, rows: int, first_channel: tirx.Expr
    ) -> None:
        """Writes the code that copies some rows into scratch, [at least rows, depth]."""
        emitter, height, width = self.emitter, self.height, self.width
        with emitter.loop(rows, "row") as row:
            n, y, x = self.decode(first + row)
            top = emitter.bind("top", height.first(y))
            left = emitter.bind("left", width.first(x))
            image = emitter.bind("image", n * height.size)
            whole = tirx.all(left >= index(0), left + index(width.kernel) <= width.size)
            with emitter.loop(height.kernel, "tap_y") as tap_y:
                place = emitter.bind("source_y", top + tap_y * index(height.dilation))
                inside = emitter.bind("inside", height.inside(place))
                source = emitter.bind("source", (image + place) * width.size)
                at = emitter.bind("at", tap_y * index(width.kernel * self.taken))

                def tap(
                    tap_x: tirx.Expr,
                    row: tirx.Expr = row, inside: tirx.Expr = inside,
                    source: tirx.Expr = source, at: tirx.Expr = at, left: tirx.Expr = left,
                ) -> None:  # fmt: skip
                    column = emitter.bind("source_x", left + tap_x * index(width.dilation))
                    reads = tirx.all(inside, width.inside(column))
                    begin = (source + column) * index(self.channels) + first_channel
                    put = at + tap_x * index(self.taken)
                    with emitter.when(reads):
                        self._run(scratch, row, put, begin, self.taken)
                    with emitter.when(tirx.Not(reads)):
                        self._run(scratch, row, put, None, self.taken)

                def taps(tap: Callable[[tirx.Expr], None] = tap) -> None:
                    with emitter.loop(width.kernel, "tap_x") as tap_x:
                        tap(tap_x)

                if width.dilation > 1 or self.taken < self.channels or width.kernel == 1:
                    taps()
                else:
                    # Neighbouring taps lie behind one another.
                    joined = emitter.bind("joined", tirx.all(inside, whole))
                    begin = (source + left) * index(self.channels)
                    with emitter.when(joined):
                        self._run(scratch, row, at, begin, width.kernel * self.taken)
                    with emitter.when(tirx.Not(joined)):
                        taps()

    def _run(
        self,
        scratch: tirx.Buffer,
        row: tirx.Expr,
        put: tirx.Expr,
        begin: tirx.Expr | None,
        count: int,
    ) -> None:
        """Copies neighbouring elements, or zeros where there is nothing to read."""
        run = None if begin is None else (self.image, begin)
        target = flat(self.emitter, scratch), row * index(self.depth) + put
        copy_run(self.emitter, run, target, count)


def _tiles(
    emitter: Emitter,
    extent: tirx.Expr,
    rows: int,
    bounds: tuple[tirx.Expr, tirx.Expr],
    last: tirx.Expr,
) -> Iterator[tuple[tirx.Expr, int]]:
    """Opens a loop over a task's full tiles, and, in the last task, one over the rows left over.

    These are tiles of one row each: code for each number of them would be most of the kernel.

    Yields:
        A tile's first row, and the number of its rows.
    """
    low, high = bounds
    with emitter.function("tiles"), emitter.loop(high - low, "tile", start=low) as tile:
        yield tile * index(rows), rows
    left = extent % index(rows)
    with (
        emitter.when(last),
        emitter.function("rest"),
        emitter.loop(left, "row", start=extent - left) as row,
    ):
        yield row, 1


def write_patches(kernel: FusedKernel[OpenConvolutionAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a convolution of an image of open size, and of its epilogue."""
    emitter = Emitter()
    window, groups = kernel.anchor.window, kernel.anchor.groups
    image, weights = kernel.parameters[0], kernel.parameters[1]
    leading = list(kernel.epilogue.result.shape[:-1])
    channels = int(image.shape[3])
    columns = int(kernel.epilogue.result.shape[-1]) // groups
    panels = Panels(columns, cpu.float_lanes, kernel.anchor.vectors)

    def decode(row: tirx.Expr) -> list[tirx.Expr]:
        return decode_row(row, leading)

    epilogue = kernel.epilogue.by_rows(emitter, decode)
    height, width = (
        _Axis(
            image.shape[axis + 1],
            window.kernel[axis],
            window.strides[axis],
            window.padding[axis],
            window.dilation[axis],
        )
        for axis in range(2)
    )
    source = flat(emitter, image)
    patches = _Patches(emitter, source, height, width, channels, channels // groups, decode)
    rows, extent = most_rows(panels.vectors, cpu), index(row_extent(leading))
    blocks, bounds_of = dynamic_blocks(extent, rows, _TILES_OF_A_TASK)
    with emitter.parallel(blocks * index(groups), "task") as task:
        group, block = emitter.bind("group", task // blocks), emitter.bind("block", task % blocks)
        scratch = emitter.allocate("patches", [rows, patches.depth])
        last = (block + 1).equal(blocks)
        for first, count in _tiles(emitter, extent, rows, bounds_of(block), last):
            patches.copy(scratch, first, count, group * index(patches.taken))

            def tile(
                panel: tirx.Expr, valid: int, first: tirx.Expr = first, count: int = count
            ) -> None:
                lanes = panels.lanes
                accumulators = Accumulators(emitter, count, -(-valid // lanes), lanes)
                number = emitter.bind("weights_of", group * index(panels.count) + panel)
                with emitter.loop(patches.depth, "k") as k:
                    accumulators.step(
                        k,
                        lambda row, at: load(scratch, row, at),
                        lambda vector, at: load(
                            weights, number, at, vector_at(vector * lanes, lanes)
                        ),
                    )
                accumulators.store(
                    epilogue,
                    lambda row: [first + index(row)],
                    group * index(columns) + panel * index(panels.width),
                    valid,
                )

            each_panel(emitter, panels, (index(0), index(panels.count)), tile)
    return prim_func(kernel.parameters, emitter.body(), family="convolution")
