"""Convolutions of images of open height or width that become kernels of Ingot's own."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import OpenConvolutionAnchor, anchor_attributes
from ingot.targets.cpu.kernels.tiling.axes import Window
from ingot.targets.cpu.kernels.tiling.tiles import Panels, choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.packing import pack_groups
from ingot.targets.cpu.selection.window import in_terms_of, read_under, taps_of, window_of


def select_open_convolution(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a float32 convolution in NHWC of an image whose size is open.

    Returns:
        The call of the kernel, or None where a channel has a filter of its own, or the number of
        channels is not known.
    """
    image, weights = call.args
    assert isinstance(weights, tvm.ir.GenericConst)
    array = weights.value.numpy()
    kernel_height, kernel_width, channels, columns = array.shape
    groups = int(call.attrs.groups)
    if not isinstance(image.ty.shape[3], tirx.IntImm) or (groups > 1 and channels == 1):
        return None
    panels = choose_panels(columns // groups, None, selection.cpu)
    matrix = array.reshape(-1, columns)
    packed = pack_groups(matrix, groups, panels)
    window = window_of(call, (kernel_height, kernel_width))
    return selection.builder.call_te(
        _anchor(window, call, channels, groups, panels),
        image,
        relax.const(packed),
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _anchor(window: Window, call: relax.Call, channels: int, groups: int, panels: Panels) -> Any:
    """The convolution as plain loops; weights are [group and panel, K, panel width]."""

    def convolution(image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        shape = in_terms_of(call.ty.shape, call.args[0].ty.shape, image.shape)
        tap_y, tap_x = taps_of(window)
        k = te.reduce_axis((index(0), index(channels)), "k")
        columns, width = index(panels.columns), index(panels.width)

        def value(n: Any, y: Any, x: Any, c: Any) -> Any:
            group, column = c // columns, c % columns
            channel = k if groups == 1 else group * index(channels) + k
            read = read_under(window, image, (n, y, x, channel), (tap_y, tap_x), outside=0.0)
            at = (tap_y * index(window.kernel[1]) + tap_x) * index(channels) + k
            panel = group * index(panels.count) + column // width
            return te.sum(read * weights[panel, at, column % width], axis=[tap_y, tap_x, k])

        return te.compute(
            shape,
            value,
            name="conv2d",
            attrs=anchor_attributes(OpenConvolutionAnchor(window, groups, panels.vectors)),
        )

    return convolution
