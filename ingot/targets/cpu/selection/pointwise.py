"""Convolutions that become matmuls, whose rows are the image's pixels, or several in a row.

Neighbouring pixels of a row lie behind one another, channels last: under a kernel of one row, as
those of signals are, they are a row of a matrix as they lie. Rows of it overlap, which a matmul
does not mind, and it is cut into blocks that fit the caches however long the signal is.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import MatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.convolution.problem import ConvolutionProblem
from ingot.targets.cpu.kernels.matmul import can_scale_rows
from ingot.targets.cpu.kernels.tiling.conflicts import COLUMNS_WORTH_A_COPY
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.base import (
    FEW_CHANNELS,
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.convolution import Convolution, Declined
from ingot.targets.cpu.selection.gating import gated_source
from ingot.targets.cpu.selection.packing import pack_panels, place_in_panels


def select_pointwise(selection: Selection, convolution: Convolution) -> relax.Expr | Declined:
    """Selects the kernel of a float32 1x1 convolution, and of what scales its image's channels."""
    problem = convolution.problem
    if problem.integer:
        return Declined("it is of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    if not problem.in_a_row:
        return Declined("it is more than a product with each pixel, or with some in a row")
    if problem.window.kernel[1] > 1 and problem.channels <= FEW_CHANNELS:
        return Declined("its image may be read as it lies, channels first")
    if problem.padded and not _is_long(problem, selection.cpu):
        return Declined("its image is padded, and a copy of it would not pay")
    image = convolution.image
    if problem.padded:
        image = selection.builder.emit(_padded(convolution))
    height, width = problem.size
    strides, taps = problem.window.strides, problem.window.kernel[1]
    depth = taps * problem.channels
    pixels = (problem.images or 1) * height * width
    panels = choose_panels(problem.columns, pixels, selection.cpu)
    matrix = convolution.weights.reshape(1, 1, depth, problem.columns)
    packed = relax.const(pack_panels(matrix, panels))

    def conv2d(image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((index(0), index(depth)), "k")
        channels = index(problem.channels)

        def value(n: Any, y: Any, x: Any, c: Any) -> Any:
            panel, at = place_in_panels(panels, 1, c)
            tap, channel = (index(0), k) if taps == 1 else (k // channels, k % channels)
            read = image[n, y * strides[0], x * strides[1] + tap, channel]
            return te.sum(read * weights[panel, 0, 0, k, at], axis=[k])

        return te.compute(
            (image.shape[0], index(height), index(width), index(panels.columns)),
            value,
            name="conv2d",
            attrs=anchor_attributes(MatmulAnchor(depth, panels.vectors, strides, taps)),
        )

    def gated_conv2d(image: te.Tensor, weights: te.Tensor, gate: te.Tensor) -> te.Tensor:
        scaled = te.compute(
            image.shape, lambda n, y, x, k: image[n, y, x, k] * gate[n, 0, 0, k], name="scaled"
        )
        return conv2d(scaled, weights)

    gated = None
    if taps == 1 and strides == (1, 1) and not problem.padded:
        gated = gated_source(selection, image)
    if gated is not None and can_scale_rows(pixels, depth, panels, selection.cpu):
        source, gate = gated
        return selection.builder.call_te(
            gated_conv2d,
            source,
            packed,
            gate,
            primfunc_name_hint="gated_conv2d",
            primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
        )
    return selection.builder.call_te(
        conv2d,
        image,
        packed,
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _is_long(problem: ConvolutionProblem, cpu: CpuDescription) -> bool:
    """Whether rows of the image are too long for the cache that they are read from again and again.

    A direct convolution reads a row for each panel of its filters.
    """
    width = problem.image[2]
    assert isinstance(width, int)
    row_bytes = 4 * width * problem.channels
    return problem.columns >= COLUMNS_WORTH_A_COPY and row_bytes > cpu.core.resident_bytes


def _padded(convolution: Convolution) -> relax.Expr:
    problem = convolution.problem
    (top, left), (bottom, right) = problem.window.padding, problem.padding_after
    return relax.op.nn.pad(convolution.image, [0, 0, top, bottom, left, right, 0, 0])
