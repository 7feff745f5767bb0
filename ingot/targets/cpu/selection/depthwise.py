"""Depthwise convolutions that become kernels of Ingot's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import DepthwiseAnchor, anchor_attributes
from ingot.targets.cpu.kernels.tiling.axes import Window
from ingot.targets.cpu.kernels.writing.emission import as_float, index
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.integer import dequantized_source
from ingot.targets.cpu.selection.window import read_under, taps_of, window_of


def select_depthwise(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a convolution with one filter per channel.

    Args:
        selection: The surroundings.
        call: A float32 convolution in NHWC of an image whose size is known, weights in HWIO,
            constant, with one input channel per group. Of centred 8-bit integers, the kernel reads
            the integers.

    Returns:
        The call of the kernel, or None where a channel has several filters.
    """
    image, weights = call.args
    array = weights.value.numpy()
    kernel_height, kernel_width, _, columns = array.shape
    if int(call.attrs.groups) != columns:
        return None
    source = dequantized_source(selection, image)
    centre = []
    if source is not None and source.scale == 1 and _are_bytes(array):
        image, array = source.values, array.astype(np.int8)
        if source.zero_point:
            # Not part of the code, or equal layers would be compiled one by one.
            centre = [relax.const(np.array([source.zero_point], np.float32))]
    window = window_of(call, (kernel_height, kernel_width))
    return selection.builder.call_te(
        _anchor(window, list(call.ty.shape)),
        image,
        relax.const(np.ascontiguousarray(array[:, :, 0, :])),
        *centre,
        primfunc_name_hint="depthwise",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _are_bytes(weights: npt.NDArray[np.float32]) -> bool:
    """Whether weights are integers of 8 bits; real ones may meet an image whose scale is one."""
    within = bool(np.all(np.abs(weights) <= np.iinfo(np.int8).max))
    return within and bool(np.all(weights == np.rint(weights)))


def _anchor(window: Window, shape: list[Any]) -> Any:
    """The convolution as plain loops; weights are [kernel height, kernel width, channels]."""

    def depthwise(image: te.Tensor, weights: te.Tensor, *centre: te.Tensor) -> te.Tensor:
        taps = taps_of(window)

        def value(n: Any, y: Any, x: Any, c: Any) -> Any:
            operand = as_float(read_under(window, image, (n, y, x, c), taps, outside=0.0))
            for zero_point in centre:
                operand = operand - zero_point(index(0))
            return te.sum(operand * as_float(weights(*taps, c)), axis=taps)

        return te.compute(
            (image.shape[0], *map(index, map(int, shape[1:]))),
            value,
            name="depthwise",
            attrs=anchor_attributes(DepthwiseAnchor(window)),
        )

    return depthwise
