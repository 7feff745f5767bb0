"""Convolutions of images of open height or width that become kernels of Ingot's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import OpenConvolutionAnchor
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined
from ingot.targets.cpu.selection.packing import pack_groups, place_in_panels


def select_open_convolution(
    selection: Selection, convolution: Convolution
) -> relax.Expr | Declined:
    """Selects the kernel of a float32 convolution of an image of any size."""
    problem = convolution.problem
    if problem.integer:
        return Declined("it is of integers")
    if not isinstance(problem.image[3], int):
        return Declined("how many channels its image has is open")
    if problem.depthwise:
        return Declined("each channel has one filter of its own")
    panels = choose_panels(problem.filters, None, selection.cpu)
    packed = pack_groups(convolution.weights.reshape(-1, problem.columns), problem.groups, panels)
    anchor = OpenConvolutionAnchor(problem.window, problem.groups, panels.vectors)
    loops = ConvolutionLoops(problem, anchor, convolution.shape, convolution.image, "conv2d")

    def conv2d(image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        def weight(taps: Sequence[Any], k: Any, column: Any) -> Any:
            tap = taps[0] * index(problem.window.kernel[1]) + taps[1]
            panel, at = place_in_panels(panels, problem.groups, column)
            return weights[panel, tap * index(problem.channels) + k, at]

        return loops.sums(image, weight)

    return selection.builder.call_te(
        conv2d,
        convolution.image,
        relax.const(packed),
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )
