"""Convolution of groups of few channels in NHWC: a window that slides, its pixels permuted.

Where a group has fewer output channels than a vector has lanes, several groups share a vector. Each
lane then needs another channel of the image at a step of the sum: the k-th of its own group. A
vector of pixels is loaded as it lies, permuted once for each k, and multiplied for all the taps of
all the outputs that it lies under, as in a depthwise convolution of k-th channels.

A tile of ``p`` pixels of a row takes ``p · taps · k`` multiply-adds, for each row of the kernel
``(p + width - 1) · k`` permutations at a stride of one, and ``taps · k`` loads of weights. With
3x3 taps and eight pixels that is one permutation for 2.4 multiply-adds, less in taller tiles. A
matmul per group would leave the lanes empty that a group does not fill.

Lanes beyond the last whole group of a vector compute the first channels of the next group, which
its own vector computes again, to the same bits; the last vector ends with the channels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import GroupedConvolutionAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.axes import Axis, Segment
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.window.sliding import (
    SlidingWindow,
    emit_window_tasks,
    users_under,
)
from ingot.targets.cpu.kernels.window.tiles import (
    WindowShape,
    choose_window_tile,
    rows_under,
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
from ingot.targets.cpu.kernels.writing.lanes import shuffle
from ingot.targets.cpu.machine import CpuDescription

# Lanes of the vectors of which one instruction permutes two (``vpermt2ps``).
_LANES_WITH_TWO_SOURCES = 16


@dataclasses.dataclass(frozen=True)
class VectorRun:
    """Vectors of output channels whose lanes read the image's channels in the same pattern.

    Attributes:
        channel: The first one's first output channel.
        source: The first of the image's channels that it reads.
        count: Number of vectors.
        step: Output channels from one vector to the next.
        source_step: The image's channels from one to the next.
        width: Channels of a load.
        loads: Loads, which lie behind one another.
        places: Where, from ``source`` on, each lane's group begins.
    """

    channel: int
    source: int
    count: int
    step: int
    source_step: int
    width: int
    loads: int
    places: tuple[int, ...]


@functools.cache
def vector_runs(groups: int, inputs: int, filters: int, lanes: int) -> tuple[VectorRun, ...] | None:
    """Cuts output channels into vectors that read the image without leaving its channels.

    Args:
        groups: Number of groups.
        inputs: Input channels of a group.
        filters: Output channels of a group.
        lanes: Lanes of a vector, at most the number of output channels.

    Returns:
        Runs that cover all channels; None where a group has more output channels than a vector has
        lanes, or what a vector reads is wider than the image.
    """
    if filters > lanes:
        return None
    channels, step = groups * filters, lanes // filters * filters
    starts = list(range(0, channels - lanes + 1, step))
    if starts[-1] + lanes < channels:
        starts.append(channels - lanes)
    runs: list[VectorRun] = []
    for start in starts:
        first, offset = divmod(start, filters)
        needed = ((offset + lanes - 1) // filters + 1) * inputs
        width = min(lanes, 1 << (needed - 1).bit_length())
        loads = -(-needed // width)
        source = min(first * inputs, groups * inputs - loads * width)
        if source < 0:
            return None
        skipped = first * inputs - source
        places = tuple((offset + lane) // filters * inputs + skipped for lane in range(lanes))
        run = VectorRun(start, source, 1, step, step // filters * inputs, width, loads, places)
        last = runs[-1] if runs else None
        if last is not None and _continues(last, run):
            runs[-1] = dataclasses.replace(last, count=last.count + 1)
        else:
            runs.append(run)
    return tuple(runs)


def _continues(last: VectorRun, run: VectorRun) -> bool:
    return (
        last.places == run.places
        and (last.width, last.loads) == (run.width, run.loads)
        and last.channel + last.count * last.step == run.channel
        and last.source + last.count * last.source_step == run.source
    )


@dataclasses.dataclass(frozen=True)
class GroupedShape(WindowShape):
    """What a window of groups slides over.

    Attributes:
        inputs: Input channels of a group.
        runs: The vectors.
        converts: Whether the image is not of float32.
    """

    inputs: int
    runs: tuple[VectorRun, ...]
    converts: bool = False

    @property
    def taps(self) -> int:
        """Products of an output."""
        return super().taps * self.inputs

    @property
    def permutations(self) -> float:
        """Of a vector of the input, for all of its uses."""
        loads = max(run.loads for run in self.runs)
        if self.lanes == _LANES_WITH_TWO_SOURCES:
            return float(self.inputs * max(1, loads - 1))
        return float(self.inputs * (2 * loads - 1))

    def held(self, pixels: int) -> int:
        """Returns the vectors of the input that are kept for all k, converted once."""
        if not self.converts or self.inputs == 1:
            return 0
        return len(rows_under(self.width, pixels)) * max(run.loads for run in self.runs)

    @property
    def patterns(self) -> int:
        """Variants of a tile's code, by how lanes read the input."""
        return len(self.runs)

    @property
    def most_vectors(self) -> int:
        """Vectors of the widest tile."""
        return 1

    @property
    def most_written_out(self) -> int:
        """None: in code of several rows LLVM holds more of them than there are registers."""
        return 0

    def groups(self, vectors: int) -> int:
        """Number of vectors."""
        del vectors
        return sum(run.count for run in self.runs)


def grouped_shape(
    axes: tuple[Axis, Axis],
    channels: tuple[int, int, int],
    cpu: CpuDescription,
    *,
    converts: bool,
) -> GroupedShape | None:
    """Returns what a window slides over; None where no vector stays within the image's channels.

    Args:
        axes: The image's height and width.
        channels: Number of groups, and input and output channels of each.
        cpu: The processor.
        converts: Whether the image is not of float32.
    """
    groups, inputs, filters = channels
    lanes = vector_lanes(groups * filters, cpu)
    while lanes >= 1:
        runs = vector_runs(groups, inputs, filters, lanes)
        if runs is not None:
            return GroupedShape(*axes, groups * filters, lanes, True, inputs, runs, converts)
        lanes //= 2
    return None


@dataclasses.dataclass
class _GroupedWindow(SlidingWindow):
    """A kernel while it is written.

    Attributes:
        run: The vectors that code is written for.
        source: The first of the image's channels that the vector reads.
        zeros: Holds a zero that is loaded for each k. Read at places that LLVM cannot know to be
            the same, a vector of pixels is loaded by the instruction that permutes it, and takes no
            register between.
    """

    run: VectorRun | None = None
    source: tirx.Expr | None = None
    zeros: tirx.Buffer | None = None

    def _emit_segment(
        self,
        image: tirx.Expr,
        y: tirx.Expr,
        down: Segment,
        across: Segment,
        groups: tuple[tirx.Expr, tirx.Expr],
    ) -> None:
        assert isinstance(self.shape, GroupedShape)
        emitter, before = self.emitter, 0
        for run in self.shape.runs:
            low = tirx.Max(groups[0], index(before))
            high = tirx.Min(groups[1], index(before + run.count))
            with emitter.function("window"), emitter.loop(across.count, "tile") as tile:
                x = index(across.start) + tile * index(across.pixels)
                with emitter.loop(high - low, "vector", start=low) as vector:
                    number = vector - index(before)
                    source = index(run.source) + number * index(run.source_step)
                    window = dataclasses.replace(
                        self,
                        run=run,
                        source=emitter.bind("source", source),
                        zeros=emitter.opaque_buffer(1),
                    )
                    channel = index(run.channel) + number * index(run.step)
                    window.emit_tile(image, (y, x), (down, across), channel)
            before += run.count

    def _source_row(
        self,
        accumulators: Accumulators,
        place: tuple[tirx.Expr, tirx.Expr, tirx.Expr],
        pixels: Segment,
        taps: Sequence[tuple[int, tirx.Expr]],
        channel: tirx.Expr,
    ) -> None:
        """Combines a row of the input with the tile's rows that have it under one of their taps."""
        assert isinstance(self.shape, GroupedShape)
        emitter, width, lanes = self.emitter, self.shape.width, self.shape.lanes
        image, y, x = place
        used = [tap for tap, outputs in enumerate(pixels.rows_by_tap) if outputs]
        channels = vector_at(channel, lanes)
        assert self.zeros is not None
        users = users_under(pixels, width)
        places = {
            offset: x * index(width.stride) + index(offset - width.padding) for offset in users
        }
        # Converted once, or else loaded by each instruction that permutes.
        held = {
            offset: self._loaded(image, y, at, index(0))
            for offset, at in places.items()
            if self.shape.converts
        }
        for k in range(self.shape.inputs):
            # A condition that LLVM does not know to hold keeps it from mixing what is of the next
            # k into this one's, for which there are no registers.
            zero = emitter.bind("zero", load(self.zeros, 0))
            with emitter.when(zero >= index(0)):
                weights = {
                    (row, tap_x): emitter.bind(
                        "weight", load(self.kernel.operands[1], tap_y, tap_x, k, channels)
                    )
                    for row, tap_y in taps
                    for tap_x in used
                }
                for offset, outputs in users.items():
                    vectors = held.get(offset) or self._loaded(image, y, places[offset], zero)
                    value = emitter.bind("value", self._permuted(vectors, k))
                    for pixel, tap_x in outputs:
                        for row, _ in taps:
                            function = self._combining(value, weights[row, tap_x])
                            accumulators.update(row * pixels.pixels + pixel, 0, function)

    def _loaded(
        self, image: tirx.Expr, y: tirx.Expr, x: tirx.Expr, zero: tirx.Expr
    ) -> list[tirx.Expr]:
        """The vectors of a pixel of the input that the lanes' groups are in."""
        run, source = self.run, self.source
        assert run is not None and source is not None
        return [
            self.emitter.bind(
                "pixel",
                self.read(
                    image, y, x, vector_at(source + zero + index(number * run.width), run.width)
                ),
            )
            for number in range(run.loads)
        ]

    def _permuted(self, vectors: Sequence[tirx.Expr], k: int) -> tirx.Expr:
        """The k-th channel of each lane's group."""
        run = self.run
        assert run is not None
        places = [place + k for place in run.places]
        if run.loads == 1 and places == list(range(run.width)):
            return vectors[0]
        if run.width == 1:
            return splat(vectors[places[0]], self.shape.lanes)
        # TVM's shuffles give no more lanes than they are given.
        given = len(vectors) * run.width
        return shuffle(list(vectors) * -(-self.shape.lanes // given), places)


def write_grouped_window(
    kernel: FusedKernel[GroupedConvolutionAnchor], cpu: CpuDescription
) -> tirx.PrimFunc:
    """Writes the code of a convolution of groups of few channels and of its epilogue.

    The operands are an image [N, H, W, C], weights [kernel height, kernel width, inputs of a group,
    output channels], and the zero point where the image holds 8-bit integers, whose distance from
    it is what counts.
    """
    emitter = Emitter()
    image, weights = kernel.operands[:2]
    anchor, result = kernel.anchor, kernel.epilogue.result
    inputs, columns = int(weights.shape[2]), int(weights.shape[3])
    height, width = anchor.window.axes(image.shape[1:3], result.shape[1:3])
    shape = grouped_shape(
        (height, width),
        (anchor.groups, inputs, columns // anchor.groups),
        cpu,
        converts=str(image.dtype) != "float32",
    )
    assert shape is not None, "it was selected"
    centre = kernel.operands[2:]

    def read(*place: tirx.Expr) -> tirx.Expr:
        lanes = getattr(place[-1], "lanes", 1)
        value = as_float(load(image, *place))
        for zero_point in centre:
            value = value - splat(load(zero_point, 0), int(lanes))
        return value

    window = _GroupedWindow(
        emitter,
        kernel,
        shape,
        choose_window_tile(shape, cpu),
        0.0,
        lambda total, value, weight: total + value * weight,
        read,
    )
    operations = emit_window_tasks(window, result.shape[0], cpu)
    return prim_func(
        kernel.parameters, emitter.body(), family="grouped_convolution", operations=operations
    )
