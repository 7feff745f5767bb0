"""Convolutions to few output channels that become kernels of Ingot's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import FewColumnsAnchor
from ingot.targets.cpu.kernels.convolution.few_columns import lanes_of, pixel_cycles
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels, panel_cycles
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined

# Taps along the width that are spelled out at each edge of the image.
_MOST_TAPS = 32


def select_few_columns(selection: Selection, convolution: Convolution) -> relax.Expr | Declined:
    """Selects the kernel of a float32 convolution whose output channels leave lanes empty."""
    problem, cpu = convolution.problem, selection.cpu
    if problem.integer:
        return Declined("it is of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    if problem.groups > 1:
        return Declined("it has groups")
    if problem.window.kernel[1] > _MOST_TAPS:
        return Declined("its kernel is long")
    taps = problem.window.kernel[0] * problem.window.kernel[1]
    width = problem.size[1]
    by_column = panel_cycles(choose_panels(problem.columns, width, cpu), width, cpu) / width
    if lanes_of(problem.channels, cpu) == 1 or (
        pixel_cycles(taps, problem.channels, problem.columns, cpu)
        >= taps * problem.channels * by_column
    ):
        return Declined("with a lane per output channel it takes less time")
    image = convolution.image
    anchor = FewColumnsAnchor(problem.window)
    loops = ConvolutionLoops(problem, anchor, convolution.shape, image, "conv2d")

    def conv2d(image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        def weight(taps: Sequence[Any], k: Any, column: Any) -> Any:
            return weights(column, *taps, k)

        return loops.sums(image, weight)

    return selection.builder.call_te(
        conv2d,
        image,
        relax.const(np.ascontiguousarray(np.moveaxis(convolution.weights, -1, 0))),
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )
