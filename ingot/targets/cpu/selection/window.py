"""The window that a convolution or a pooling slides over an image in NHWC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.tiling.axes import Window
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.relax.expressions import substituted, variables


def window_of(call: relax.Call, kernel: tuple[int, int]) -> Window:
    """Returns the window of a call of a convolution or a pooling."""
    attrs = call.attrs
    top, left = (int(size) for size in list(attrs.padding)[:2])
    stride_y, stride_x = (int(size) for size in attrs.strides)
    dilation_y, dilation_x = (int(size) for size in attrs.dilation)
    return Window(kernel, (stride_y, stride_x), (top, left), (dilation_y, dilation_x))


def taps_of(window: Window) -> list[Any]:
    """Returns reduction axes over the taps."""
    return [
        te.reduce_axis((index(0), index(extent)), name)
        for extent, name in zip(window.kernel, ("tap_y", "tap_x"), strict=True)
    ]


def read_under(
    window: Window,
    image: te.Tensor,
    output: Sequence[Any],
    taps: Sequence[Any],
    outside: float,
    *,
    channels_first: bool = False,
) -> Any:
    """Returns the element of an image under a tap of an output.

    Args:
        window: The window.
        image: The image.
        output: The number of the image, the output's row and column, and the image's channel.
        taps: The tap, along the height and along the width.
        outside: What the padding holds.
        channels_first: Whether the image is NCHW.
    """
    n, *pixel, c = output
    place = [
        at * stride + tap * dilation - before
        for at, stride, tap, dilation, before in zip(
            pixel, window.strides, taps, window.dilation, window.padding, strict=True
        )
    ]
    sizes = image.shape[2:4] if channels_first else image.shape[1:3]
    inside = tirx.all(
        *(
            condition
            for at, size in zip(place, sizes, strict=True)
            for condition in (at >= 0, at < size)
        )
    )
    value = image(n, c, *place) if channels_first else image(n, *place, c)
    return tirx.if_then_else(inside, value, tirx.const(outside, str(image.dtype)))


def in_terms_of(shape: Sequence[Any], known: Sequence[Any], own: Sequence[Any]) -> list[Any]:
    """A shape in the variables of a prim func.

    In the variables of the graph around it, a prim func takes each as a number besides the tensors,
    and no longer knows that a row of its input is as long as one of its result.

    Args:
        shape: The shape, in variables of the graph.
        known: The shape of a tensor, in variables of the graph.
        own: The shape of the same tensor in the prim func.
    """
    values: dict[Any, Any] = {}
    for outer, inner in zip(known, own, strict=True):
        found = [variables(size) for size in (outer, inner)]
        if len(found[0]) == len(found[1]):
            values.update(zip(*found, strict=True))
    return [substituted(size, values) for size in shape]
