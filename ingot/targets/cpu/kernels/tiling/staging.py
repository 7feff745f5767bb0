"""Copying rows of an image to where a convolution's innermost loop can stream them."""

from __future__ import annotations

import dataclasses

from tvm import tirx

from ingot.targets.cpu.kernels.rows.rows import Line, flat
from ingot.targets.cpu.kernels.tiling.axes import Axis
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, splat, vector_at


@dataclasses.dataclass(frozen=True)
class StagedRows:
    """Rows of an image, copied channels last with the padding around them.

    Attributes:
        buffer: [rows, padded width, channels].
        first: The padded image's row that the buffer begins with.
        rows_of_image: Rows of the padded image.
    """

    buffer: tirx.Buffer
    first: tirx.Expr
    rows_of_image: int

    @classmethod
    def copy(
        cls,
        emitter: Emitter,
        source: tirx.Buffer,
        axes: tuple[Axis, Axis],
        image: tirx.Expr,
        first: tirx.Expr,
        results: tirx.Expr,
        most: int,
        *,
        channels_first: bool = True,
    ) -> StagedRows:
        """Writes the copy.

        Args:
            emitter: Where the statements go.
            source: [batch, channels, height, width], or its channels last.
            axes: The image's height and width.
            image: Which image.
            first: The first row of the result that is computed from the copy.
            results: Number of such rows.
            most: The largest that number can be.
            channels_first: Whether the source's channels are its second axis.
        """
        height, width = axes
        channels = int(source.shape[1 if channels_first else 3])
        reach = (height.kernel - 1) * height.dilation + 1
        padded = (width.result - 1) * width.stride + (width.kernel - 1) * width.dilation + 1
        # The result may read no further than the padding, and no further than the image.
        before = min(width.padding, padded)
        taken = min(width.size, padded - before)
        buffer = emitter.allocate("staged", [(most - 1) * height.stride + reach, padded, channels])
        top = emitter.bind("top", first * index(height.stride))
        with emitter.loop((results - 1) * index(height.stride) + index(reach), "staged_row") as row:
            y = emitter.bind("source_y", top + row - index(height.padding))
            inside = emitter.bind("inside", tirx.all(y >= 0, y < index(height.size)))

            def fill(start: int, count: int, *, read: bool) -> None:
                target = (buffer, row, start)
                if not channels_first:
                    _fill_run(emitter, source if read else None, (image, y), target, count)
                    return
                with emitter.loop(count, "x") as x:
                    for channel in range(channels):
                        value = load(source, image, channel, y, x) if read else splat(0.0, 1)
                        emitter.store(buffer, value, [row, x + index(start), channel])

            after = padded - before - taken
            if taken:
                with emitter.when(inside):
                    fill(before, taken, read=True)
                with emitter.when(tirx.Not(inside)):
                    fill(before, taken, read=False)
            for start, count in ((0, before), (padded - after, after)):
                if count:
                    fill(start, count, read=False)
        rows = (height.result - 1) * height.stride + reach
        return cls(buffer, top, rows)


def _fill_run(
    emitter: Emitter,
    source: tirx.Buffer | None,
    place: tuple[tirx.Expr, tirx.Expr],
    target: tuple[tirx.Buffer, tirx.Expr, int],
    count: int,
) -> None:
    """Copies the first pixels of a row, all their channels, or zeros.

    Args:
        emitter: Where the statements go.
        source: The image, channels last; None for zeros.
        place: Which image and row.
        target: The staged rows, which of them, and the pixel to begin with.
        count: Number of pixels.
    """
    buffer, row, start = target
    _, padded, channels = (int(size) for size in buffer.shape)
    put = (row * index(padded) + index(start)) * index(channels)
    run = None
    if source is not None:
        pixel = (place[0] * source.shape[1] + place[1]) * source.shape[2]
        run = flat(emitter, source), pixel * index(channels)
    copy_run(emitter, run, (flat(emitter, buffer), put), count * channels)


def copy_run(
    emitter: Emitter,
    source: tuple[tirx.Buffer, tirx.Expr] | None,
    target: tuple[tirx.Buffer, tirx.Expr],
    count: int,
) -> None:
    """Writes the copy of neighbouring elements, or of zeros where there is nothing to read.

    Args:
        emitter: Where the statements go.
        source: A buffer of one axis, and the first element; None for zeros.
        target: The same of where they go.
        count: Number of elements.
    """
    buffer, first = target[0], emitter.bind("put", target[1])
    read = None if source is None else (source[0], emitter.bind("read", source[1]))

    def copy(at: tirx.Expr, lanes: int) -> None:
        value = splat(0.0, lanes)
        if read is not None:
            value = load(read[0], vector_at(read[1] + (at - first), lanes))
        emitter.store(buffer, value, [vector_at(at, lanes)])

    Line(emitter, count, first).each(copy)
