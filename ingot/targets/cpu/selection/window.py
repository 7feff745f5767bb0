"""The window that a convolution or a pooling slides over an image in NHWC."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.relax.expressions import substituted, variables


@dataclasses.dataclass(frozen=True)
class Window:
    """A window of two axes, height first.

    Attributes:
        kernel: Taps.
        strides: Steps between outputs, in inputs.
        padding: Elements before the image.
        dilation: Distances of two taps.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, call: relax.Call, kernel: tuple[int, int]) -> Window:
        """Returns the window of a call of a convolution or a pooling."""
        attrs = call.attrs
        top, left = (int(size) for size in list(attrs.padding)[:2])
        stride_y, stride_x = (int(size) for size in attrs.strides)
        dilation_y, dilation_x = (int(size) for size in attrs.dilation)
        return cls(kernel, (stride_y, stride_x), (top, left), (dilation_y, dilation_x))

    def reduce_axes(self) -> list[Any]:
        """Axes over the taps."""
        return [
            te.reduce_axis((index(0), index(extent)), name)
            for extent, name in zip(self.kernel, ("tap_y", "tap_x"), strict=True)
        ]

    def read(
        self,
        image: te.Tensor,
        n: Any,
        y: Any,
        x: Any,
        c: Any,
        taps: Sequence[Any],
        outside: float,
        *,
        channels_first: bool = False,
    ) -> Any:
        """The image under a tap of an output; ``outside`` is what the padding holds."""
        place = [
            output * stride + tap * dilation - before
            for output, stride, tap, dilation, before in zip(
                (y, x), self.strides, taps, self.dilation, self.padding, strict=True
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

    def notes(self) -> dict[str, list[int]]:
        """The window as annotations of a block."""
        return {
            "kernel": list(self.kernel),
            "strides": list(self.strides),
            "padding": list(self.padding),
            "dilation": list(self.dilation),
        }


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
