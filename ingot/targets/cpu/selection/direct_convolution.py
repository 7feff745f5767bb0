"""Convolutions of images of known size that become kernels of Ingot's own, tap by tap."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import ConvolutionAnchor
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels
from ingot.targets.cpu.selection.base import (
    FEW_CHANNELS,
    NCHW_TO_NHWC,
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
    is_call,
    producer,
)
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined
from ingot.targets.cpu.selection.packing import pack_groups, place_in_panels


def select_direct(selection: Selection, convolution: Convolution) -> relax.Expr | Declined:
    """Selects the kernel of a float32 convolution of an image of known size."""
    problem = convolution.problem
    if problem.integer:
        return Declined("it is of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    panels = choose_panels(problem.filters, problem.size[1], selection.cpu)
    if problem.groups > 1 and panels.columns < panels.lanes:
        # Of a narrow vector less is for nothing.
        panels = dataclasses.replace(panels, lanes=1 << (panels.columns - 1).bit_length())
    first = _channels_first_source(selection, convolution)
    source = convolution.image if first is None else first
    anchor = ConvolutionAnchor(
        problem.window, problem.groups, first is not None, panels.lanes, panels.vectors
    )
    loops = ConvolutionLoops(
        problem, anchor, convolution.shape, source, "conv2d", channels_first=first is not None
    )

    def conv2d(image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        def weight(taps: Sequence[Any], k: Any, column: Any) -> Any:
            panel, at = place_in_panels(panels, problem.groups, column)
            return weights(panel, *taps, k, at)

        return loops.sums(image, weight)

    return selection.builder.call_te(
        conv2d,
        source,
        relax.const(pack_groups(convolution.weights, problem.groups, panels)),
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _channels_first_source(selection: Selection, convolution: Convolution) -> relax.Expr | None:
    """The NCHW tensor that an image of few channels was transposed from, if it was."""
    image, problem = convolution.image, convolution.problem
    if problem.channels * problem.groups > FEW_CHANNELS:
        return None
    transposed = producer(selection, image)
    if not is_call(transposed, "relax.permute_dims"):
        return None
    if tuple(map(int, transposed.attrs.axes)) != NCHW_TO_NHWC:
        return None
    return transposed.args[0]
