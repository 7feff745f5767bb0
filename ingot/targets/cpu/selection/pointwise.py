"""Convolutions of one tap that become matmuls, whose rows are the image's pixels."""

from __future__ import annotations

from typing import Any

from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import MatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.matmul import can_scale_rows
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
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
    if not problem.pointwise:
        return Declined("it is more than a product with each pixel")
    height, width = problem.size
    strides, depth = problem.window.strides, problem.channels
    pixels = (problem.images or 1) * height * width
    panels = choose_panels(problem.columns, pixels, selection.cpu)
    packed = relax.const(pack_panels(convolution.weights, panels))

    def conv2d(image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((index(0), index(depth)), "k")
        batch, rows, columns, _ = image.shape

        def value(n: Any, y: Any, x: Any, c: Any) -> Any:
            panel, at = place_in_panels(panels, 1, c)
            read = image[n, y * strides[0], x * strides[1], k]
            return te.sum(read * weights[panel, 0, 0, k, at], axis=[k])

        return te.compute(
            (
                batch,
                (rows - 1) // strides[0] + 1,
                (columns - 1) // strides[1] + 1,
                index(panels.columns),
            ),
            value,
            name="conv2d",
            attrs=anchor_attributes(MatmulAnchor(depth, panels.vectors, strides)),
        )

    def gated_conv2d(image: te.Tensor, weights: te.Tensor, gate: te.Tensor) -> te.Tensor:
        scaled = te.compute(
            image.shape, lambda n, y, x, k: image[n, y, x, k] * gate[n, 0, 0, k], name="scaled"
        )
        return conv2d(scaled, weights)

    gated = gated_source(selection, convolution.image) if strides == (1, 1) else None
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
        convolution.image,
        packed,
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )
