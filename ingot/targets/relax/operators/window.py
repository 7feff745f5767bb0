"""The window that a convolution or a pooling slides over an image, as ONNX describes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tvm import relax, sym, tirx

from ingot.errors import UnsupportedOperatorError

Size: TypeAlias = "int | tirx.Expr"
"""Of an axis: a number, or an expression where it is known only when the code runs."""

_PADDING_MODES = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over the spatial axes, those behind batch and channels.

    Attributes:
        kernel: Taps per axis.
        strides: Steps between outputs, in inputs.
        dilations: Distances of two taps.
        pads: Elements before and behind the image per axis, as far as they are given.
        auto_pad: ``NOTSET``, ``VALID``, ``SAME_UPPER`` or ``SAME_LOWER``.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    auto_pad: str

    @classmethod
    def of(cls, attributes: Mapping[str, Any], kernel: Sequence[int]) -> Window:
        """Reads a node's attributes.

        Args:
            attributes: ``strides``, ``dilations``, ``pads`` and ``auto_pad``, each optional.
            kernel: Taps per axis.

        Raises:
            UnsupportedOperatorError: An attribute has a value that ONNX does not know.
        """
        rank = len(kernel)
        auto_pad = attributes.get("auto_pad", b"NOTSET")
        auto_pad = auto_pad.decode() if isinstance(auto_pad, bytes) else str(auto_pad)
        if auto_pad not in _PADDING_MODES:
            raise UnsupportedOperatorError(f"auto_pad={auto_pad} is not a mode of padding")
        pads = [int(size) for size in attributes.get("pads", [0] * 2 * rank)]
        if auto_pad != "NOTSET":
            pads = [0] * 2 * rank
        strides = tuple(map(int, attributes.get("strides", [1] * rank)))
        dilations = tuple(map(int, attributes.get("dilations", [1] * rank)))
        if not len(strides) == len(dilations) == len(pads) / 2 == rank:
            raise UnsupportedOperatorError(
                f"strides, dilations or pads are not for the kernel's {rank} axes"
            )
        if min(pads) < 0 or min((*strides, *dilations)) < 1:
            raise UnsupportedOperatorError("negative pads, strides or dilations are not lowered")
        return cls(
            tuple(map(int, kernel)),
            strides,
            dilations,
            tuple(zip(pads[:rank], pads[rank:], strict=True)),
            auto_pad,
        )

    @property
    def extents(self) -> tuple[int, ...]:
        """Inputs from the first tap to the last."""
        return tuple(
            (taps - 1) * dilation + 1
            for taps, dilation in zip(self.kernel, self.dilations, strict=True)
        )

    @property
    def same(self) -> bool:
        """Whether padding is such that there is an output per ``stride`` inputs."""
        return self.auto_pad.startswith("SAME")

    def padding(self, sizes: Sequence[Size], extents: Sequence[int]) -> list[tuple[Size, Size]]:
        """Returns what is padded before and behind each axis.

        Args:
            sizes: Of the image.
            extents: Inputs that a window of ``SAME`` padding spans.
        """
        if not self.same:
            return list(self.pads)
        padding = []
        for size, extent, stride in zip(sizes, extents, self.strides, strict=True):
            total: Size = extent - 1
            if stride > 1:
                total = (size + (stride - 1)) // stride * stride - stride + extent - size
                total = max(0, total) if isinstance(total, int) else tirx.max(total, _index(0))
            half = simplified(total // 2)
            rest = simplified(total - half)
            padding.append((half, rest) if self.auto_pad == "SAME_UPPER" else (rest, half))
        return padding


def spatial_sizes(data: relax.Expr) -> list[Size]:
    """Returns the sizes of an image's spatial axes.

    Raises:
        UnsupportedOperatorError: The number of axes is not known, or is less than three.
    """
    shape = data.ty.shape
    if shape is None or not isinstance(shape, relax.ShapeExpr) or len(shape) < 3:
        raise UnsupportedOperatorError("an image without spatial axes of known number")
    return [simplified(size) for size in list(shape.values)[2:]]


def simplified(size: Size) -> Size:
    """Returns a size as a number, or as a simple expression."""
    if isinstance(size, int):
        return size
    size = sym.Analyzer().simplify(size)
    return int(size.value) if isinstance(size, tirx.IntImm) else size


def _index(value: int) -> tirx.Expr:
    return tirx.IntImm("int64", value)
