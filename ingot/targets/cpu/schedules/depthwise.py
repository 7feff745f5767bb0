"""Depthwise convolution in NHWC: one filter per channel, whole vectors of channels at once.

Each channel is convolved with its own few taps, so that there is no panel of weights to share: what
can be reused are the input's pixels. A tile is a few neighbouring pixels of one row of the result by
a few vectors of channels. For each row of the kernel it loads every pixel of the input that it needs
once, and adds it to all the outputs that have it under one of their taps: ``pixels + taps - 1``
loads for ``pixels · taps`` multiply-adds at stride 1. Taps in the padding are left out as in
``convolution``: rows of the kernel by the loop's bounds, columns by code of their own for the tiles
at the left and right edge.

Channels that do not fill their last vector need no masks: the last vector begins earlier and
computes some of its neighbour's channels a second time, to the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tvm import tirx

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.schedules.blocking import WORTH_A_LAUNCH, part
from ingot.targets.cpu.schedules.convolution import Axis, Segment, segments
from ingot.targets.cpu.schedules.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.schedules.epilogue import FusedKernel
from ingot.targets.cpu.schedules.microkernel import Accumulators
from ingot.targets.cpu.schedules.tiles import split_evenly

_PIXELS = 8


@dataclasses.dataclass(frozen=True)
class ChannelGroups:
    """How channels are cut into groups of whole vectors.

    Attributes:
        channels: Number of channels.
        lanes: Channels of a vector; a power of two, at most ``channels``.
        vectors: Vectors of a group; the last group may have fewer.
    """

    channels: int
    lanes: int
    vectors: int

    @property
    def full(self) -> int:
        """Groups with all their vectors."""
        return self.channels // (self.lanes * self.vectors)

    @property
    def last_vectors(self) -> int:
        """Vectors of the narrower last group; 0 where there is none."""
        return -(-(self.channels - self.full * self.vectors * self.lanes) // self.lanes)

    @property
    def count(self) -> int:
        """Number of groups, the narrower last one included."""
        return self.full + (self.last_vectors > 0)

    @property
    def last_channel(self) -> int:
        """First channel of the last group: its vectors end with the channels."""
        return self.channels - self.last_vectors * self.lanes


def vector_lanes(channels: int, cpu: CpuDescription) -> int:
    """Returns the lanes of the widest vector that fits into the machine's and into the channels."""
    return min(cpu.float_lanes, 1 << (channels.bit_length() - 1))


@dataclasses.dataclass
class _Depthwise:
    """A depthwise convolution while it is written."""

    emitter: Emitter
    kernel: FusedKernel
    height: Axis
    width: Axis
    groups: ChannelGroups

    def tile(
        self,
        place: tuple[tirx.Expr, tirx.Expr, tirx.Expr],
        segment: Segment,
        channel: tirx.Expr,
        vectors: int,
    ) -> None:
        """Writes the code of one tile.

        Args:
            place: Image, row and first pixel of the tile.
            segment: The tile's pixels.
            channel: Its first channel.
            vectors: Its vectors of channels.
        """
        emitter, lanes = self.emitter, self.groups.lanes
        image, y, start = place
        accumulators = Accumulators(emitter, segment.pixels, vectors, lanes)
        low, high = self.height.taps(y)
        extent: int | tirx.Expr = high - low if self.height.padded else self.height.kernel
        with emitter.loop(extent, "tap_y", start=low) as tap_y:
            for vector in range(vectors):
                self._kernel_row(
                    accumulators, (image, self.height.source(y, tap_y), start), segment, tap_y,
                    channel + index(vector * lanes), vector,
                )  # fmt: skip
        accumulators.store(
            self.kernel.epilogue,
            lambda pixel: [image, y, start + index(pixel)],
            channel,
            vectors * lanes,
        )

    def _kernel_row(
        self,
        accumulators: Accumulators,
        source: tuple[tirx.Expr, tirx.Expr, tirx.Expr],
        segment: Segment,
        tap_y: tirx.Expr,
        channel: tirx.Expr,
        vector: int,
    ) -> None:
        emitter, width = self.emitter, self.width
        data, weights = self.kernel.parameters[:2]
        channels = vector_at(channel, self.groups.lanes)
        weight = {
            tap: emitter.bind("weight", load(weights, tap_y, tap, channels))
            for tap, pixels in enumerate(segment.rows_by_tap)
            if pixels
        }
        image, y, start = source
        for offset, users in _users(segment, width):
            x = start * index(width.stride) + index(offset - width.padding)
            value = emitter.bind("value", load(data, image, y, x, channels))
            for pixel, tap in users:
                accumulators.add(pixel, vector, value * weight[tap])


def _users(segment: Segment, axis: Axis) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yields the input's pixels under a tile, each with the (pixel, tap) pairs that it is for.

    The input's pixels are counted from the tile's first tap, in increasing order: each output adds
    its taps from left to right.
    """
    users: dict[int, list[tuple[int, int]]] = {}
    for tap, pixels in enumerate(segment.rows_by_tap):
        for pixel in pixels:
            offset = pixel * axis.stride + tap * axis.dilation
            users.setdefault(offset, []).append((pixel, tap))
    yield from sorted(users.items())


def schedule_depthwise(kernel: FusedKernel, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a depthwise convolution and of its epilogue.

    The anchor's annotations give ``kernel``, ``strides``, ``padding`` (before) and ``dilation``.
    """
    emitter = Emitter()
    notes = kernel.annotations
    image, result = kernel.parameters[0], kernel.epilogue.result
    channels = int(result.shape[3])
    height, width = (
        Axis(
            int(image.shape[axis + 1]),
            int(result.shape[axis + 1]),
            *(int(notes[name][axis]) for name in ("kernel", "strides", "padding", "dilation")),
        )
        for axis in range(2)
    )
    groups = ChannelGroups(channels, vector_lanes(channels, cpu), 1)
    depthwise = _Depthwise(emitter, kernel, height, width, groups)
    batch = result.shape[0]
    per_image = 2 * height.result * width.result * channels * height.kernel * width.kernel
    images = int(batch.value) if isinstance(batch, tirx.IntImm) else None
    _write_tasks(depthwise, batch, images, per_image)
    operations = None if images is None else per_image * images
    return prim_func(kernel.parameters, emitter.body(), family="depthwise", operations=operations)


def _write_tasks(
    depthwise: _Depthwise, batch: tirx.Expr, images: int | None, per_image: int
) -> None:
    emitter, height, groups = depthwise.emitter, depthwise.height, depthwise.groups
    units = height.result * (images or 1)
    row_blocks = units
    tasks: int | tirx.Expr = row_blocks if images else index(row_blocks) * batch
    small = images is not None and per_image * images < WORTH_A_LAUNCH
    tiles = segments(
        depthwise.width, split_evenly(depthwise.width.result, -(-depthwise.width.result // _PIXELS))
    )

    def row_of(image: tirx.Expr, y: tirx.Expr, channel: tirx.Expr, vectors: int) -> None:
        for segment in tiles:
            with emitter.loop(segment.count, "tile") as tile:
                start = index(segment.start) + tile * index(segment.pixels)
                depthwise.tile((image, y, start), segment, channel, vectors)

    with emitter.loop(tasks, "task") if small else emitter.parallel(tasks, "task") as row:
        image = emitter.bind("image", row // index(height.result))
        y = emitter.bind("y", row % index(height.result))
        with emitter.loop(groups.full, "group") as group:
            row_of(image, y, group * index(groups.vectors * groups.lanes), groups.vectors)
        if groups.last_vectors:
            row_of(image, y, index(groups.last_channel), groups.last_vectors)
