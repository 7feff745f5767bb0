"""Convolutions of groups of few channels that become kernels of Ingot's own."""

from __future__ import annotations

import numpy as np
from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import GroupedConvolutionAnchor
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels, panel_cycles
from ingot.targets.cpu.kernels.window.grouped import GroupedShape, grouped_shape
from ingot.targets.cpu.kernels.window.tiles import (
    MOST_WRITTEN_OUT,
    choose_window_tile,
    code_size,
    window_cycles,
)
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined
from ingot.targets.cpu.selection.depthwise import centred_source
from ingot.targets.cpu.selection.words.sources import centred_element


def select_grouped_window(selection: Selection, convolution: Convolution) -> relax.Expr | Declined:
    """Selects the kernel of a float32 convolution of which several groups share a vector.

    Of centred 8-bit integers, the kernel reads the integers.
    """
    problem, cpu = convolution.problem, selection.cpu
    if problem.integer:
        return Declined("it is of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    if problem.groups == 1:
        return Declined("it has one group")
    if problem.filters >= cpu.float_lanes:
        return Declined("a group's output channels fill a vector")
    image, centre = centred_source(selection, convolution.image)
    shape = grouped_shape(
        problem.axes(),
        (problem.groups, problem.channels, problem.filters),
        cpu,
        converts=str(image.ty.dtype) != "float32",
    )
    if shape is None:
        return Declined("what a vector reads is wider than the image")
    if not _is_worth_it(shape, problem.groups, problem.filters, cpu):
        return Declined("a matmul per tap and group takes less time or code")
    anchor = GroupedConvolutionAnchor(problem.window, problem.groups)
    loops = ConvolutionLoops(problem, anchor, convolution.shape, image, "grouped_conv2d")

    def grouped_conv2d(image: te.Tensor, weights: te.Tensor, *centre: te.Tensor) -> te.Tensor:
        return loops.sums(
            image, lambda taps, k, column: weights(*taps, k, column), centred_element(centre)
        )

    return selection.builder.call_te(
        grouped_conv2d,
        image,
        relax.const(np.ascontiguousarray(convolution.weights)),
        *centre,
        primfunc_name_hint="grouped_conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _is_worth_it(shape: GroupedShape, groups: int, filters: int, cpu: CpuDescription) -> bool:
    """Whether it takes less time than a matmul per tap and group, and not too much code."""
    tile = choose_window_tile(shape, cpu)
    panels = choose_panels(filters, shape.width.result, cpu)
    rows = groups * shape.height.result * shape.taps
    one_by_one = rows * panel_cycles(panels, shape.width.result, cpu)
    return (
        code_size(shape, tile) <= MOST_WRITTEN_OUT and window_cycles(shape, tile, cpu) < one_by_one
    )
