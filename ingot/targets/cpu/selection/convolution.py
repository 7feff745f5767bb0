"""Convolutions that become kernels of Ingot's own, their weights packed."""

from __future__ import annotations

import dataclasses
from typing import Any

import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import ConvolutionAnchor, MatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.matmul import can_scale_rows
from ingot.targets.cpu.kernels.tiling.axes import Window
from ingot.targets.cpu.kernels.tiling.tiles import Panels, choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
    Selector,
)
from ingot.targets.cpu.selection.depthwise import select_depthwise
from ingot.targets.cpu.selection.gating import gated_source
from ingot.targets.cpu.selection.integer import select_integer_convolution
from ingot.targets.cpu.selection.open_convolution import select_open_convolution
from ingot.targets.cpu.selection.packing import pack_groups

_NHWC_TO_NCHW = [0, 3, 1, 2]
_NCHW_TO_NHWC = [0, 2, 3, 1]
# A transpose of the network's input costs a pass over the image; with so few channels the
# convolution reads it as it lies.
_FEW_CHANNELS = 4


@dataclasses.dataclass(frozen=True)
class _Attributes:
    """Attributes of a two-dimensional convolution in NHWC, weights in HWIO."""

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, call: relax.Call) -> _Attributes:
        attrs = call.attrs
        return cls(
            tuple(map(int, attrs.strides)),  # type: ignore[arg-type]
            tuple(map(int, attrs.padding)),  # type: ignore[arg-type]
            tuple(map(int, attrs.dilation)),  # type: ignore[arg-type]
            int(attrs.groups),
        )


def select_convolution(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a convolution with constant weights."""
    image, weights = call.args
    if str(image.ty.dtype) == "int16":
        return select_integer_convolution(selection, call)
    if not (isinstance(weights, tvm.ir.GenericConst) and _is_supported(call, weights)):
        return None
    if not all(isinstance(size, tirx.IntImm) for size in list(image.ty.shape)[1:]):
        return select_open_convolution(selection, call)
    attributes = _Attributes.of(call)
    array = weights.value.numpy()
    kernel_height, kernel_width, channels, columns = array.shape
    groups = attributes.groups
    if groups == columns > 1 and channels == 1:
        return select_depthwise(selection, call)
    width = int(call.ty.shape[2])
    pointwise = (kernel_height, kernel_width, groups) == (1, 1, 1) and not any(attributes.padding)
    batch = call.ty.shape[0]
    if pointwise:
        images = int(batch.value) if isinstance(batch, tirx.IntImm) else 1
        panels = choose_panels(columns, images * width * int(call.ty.shape[1]), selection.cpu)
    else:
        panels = choose_panels(columns // groups, width, selection.cpu)
        if groups > 1 and panels.columns < panels.lanes:
            # Of a narrow vector less is for nothing.
            panels = dataclasses.replace(panels, lanes=1 << (panels.columns - 1).bit_length())
    packed = relax.const(pack_groups(array, groups, panels))
    source = None if pointwise else _channels_first_source(selection, image, channels * groups)
    anchor = _Anchor(attributes, panels, tuple(map(int, array.shape)), source is not None)
    gated = gated_source(selection, image) if pointwise and attributes.strides == (1, 1) else None
    if gated is not None and can_scale_rows(
        int(image.ty.shape[0]) * width * int(call.ty.shape[1]), channels, panels, selection.cpu
    ):
        source, gate = gated
        return selection.builder.call_te(
            anchor.gated,
            source,
            packed,
            gate,
            primfunc_name_hint="gated_conv2d",
            primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
        )
    return selection.builder.call_te(
        anchor.pointwise if pointwise else anchor.direct,
        image if source is None else source,
        packed,
        primfunc_name_hint="conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _is_supported(call: relax.Call, weights: tvm.ir.GenericConst) -> bool:
    attrs = call.attrs
    image = call.args[0].ty
    shape = image.shape
    return (
        (attrs.data_layout, attrs.kernel_layout) == ("NHWC", "HWIO")
        and str(image.dtype) == "float32"
        and str(weights.value.dtype) == "float32"
        and shape is not None
    )


def _channels_first_source(
    selection: Selection, image: relax.Expr, channels: int
) -> relax.Expr | None:
    """The NCHW tensor that an image of few channels was transposed from, if it was."""
    if channels > _FEW_CHANNELS or not isinstance(image, relax.Var):
        return None
    producer = selection.producer(image)
    if (
        isinstance(producer, relax.Call)
        and getattr(producer.op, "name", "") == "relax.permute_dims"
        and list(map(int, producer.attrs.axes)) == _NCHW_TO_NHWC
    ):
        return producer.args[0]
    return None


@dataclasses.dataclass(frozen=True)
class _Anchor:
    """The convolution as plain loops; its family writes the code from the anchor."""

    attributes: _Attributes
    panels: Panels
    shape: tuple[int, ...]
    channels_first: bool

    def direct(self, image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        given = self.attributes
        kernel_height, kernel_width, channels, columns = self.shape
        batch, *sizes = list(image.shape)
        height, width = sizes[1:] if self.channels_first else sizes[:2]
        top, left, bottom, right = given.padding
        extents = [
            (int(size) + before + after - (kernel - 1) * dilation - 1) // stride + 1
            for size, before, after, kernel, dilation, stride in zip(
                (height, width), (top, left), (bottom, right),
                (kernel_height, kernel_width), given.dilation, given.strides, strict=True,
            )
        ]  # fmt: skip
        tap_y, tap_x, k = (
            te.reduce_axis((index(0), index(extent)), name)
            for extent, name in (
                (kernel_height, "tap_y"), (kernel_width, "tap_x"), (channels, "k"),
            )
        )  # fmt: skip
        per_group = columns // given.groups
        width_of_panel, count = index(self.panels.width), index(self.panels.count)

        def value(n: Any, y: Any, x: Any, c: Any) -> Any:
            source_y = y * given.strides[0] + tap_y * given.dilation[0] - top
            source_x = x * given.strides[1] + tap_x * given.dilation[1] - left
            group, column = (
                (index(0), c)
                if given.groups == 1
                else (c // index(per_group), c % index(per_group))
            )
            channel = group * index(channels) + k
            place = (
                (n, channel, source_y, source_x)
                if self.channels_first
                else (n, source_y, source_x, channel)
            )
            inside = tirx.all(source_y >= 0, source_y < height, source_x >= 0, source_x < width)
            panel = group * count + column // width_of_panel
            weight = weights[panel, tap_y, tap_x, k, column % width_of_panel]
            operand = image(*place)
            if any(given.padding):
                operand = tirx.if_then_else(inside, operand, tirx.const(0.0, "float32"))
            return te.sum(operand * weight, axis=[tap_y, tap_x, k])

        return te.compute(
            (batch, *map(index, extents), index(columns)),
            value,
            name="conv2d",
            attrs=anchor_attributes(
                ConvolutionAnchor(
                    Window(
                        (kernel_height, kernel_width), given.strides, (top, left), given.dilation
                    ),
                    given.groups,
                    self.channels_first,
                    self.panels.lanes,
                    self.panels.vectors,
                )
            ),
        )

    def gated(self, image: te.Tensor, weights: te.Tensor, gate: te.Tensor) -> te.Tensor:
        scaled = te.compute(
            image.shape, lambda n, y, x, k: image[n, y, x, k] * gate[n, 0, 0, k], name="scaled"
        )
        return self.pointwise(scaled, weights)

    def pointwise(self, image: te.Tensor, weights: te.Tensor) -> te.Tensor:
        stride_y, stride_x = self.attributes.strides
        channels, columns = self.shape[2:]
        k = te.reduce_axis((index(0), index(channels)), "k")
        batch, height, width, _ = image.shape
        panel_width = index(self.panels.width)
        return te.compute(
            (batch, (height - 1) // stride_y + 1, (width - 1) // stride_x + 1, index(columns)),
            lambda n, y, x, c: te.sum(
                image[n, y * stride_y, x * stride_x, k]
                * weights[c // panel_width, 0, 0, k, c % panel_width],
                axis=[k],
            ),
            name="conv2d",
            attrs=anchor_attributes(
                MatmulAnchor(channels, self.panels.vectors, self.attributes.strides)
            ),
        )


CONVOLUTION_SELECTORS: dict[str, Selector] = {"relax.nn.conv2d": select_convolution}
