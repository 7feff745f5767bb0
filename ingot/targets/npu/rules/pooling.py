"""MaxPool: MAX_POOL2D. AveragePool, GlobalAveragePool and ReduceMean: a depthwise CONV2D of ones.

Exactness of a maximum. Dequantization is monotonic, so the largest integer is that of the largest
real number; padding never wins in either. Where the output's grid differs, RESCALE follows.

Exactness of a mean. AVG_POOL2D would round twice (to the input's grid, then to the output's). A
depthwise convolution with weights of one sums the window exactly in int32, and one RESCALE by
``s_x / (count * s_y)`` rounds once. That the count is the same for each window is required, so a
mean that leaves out its padding is done where there is none.

A mean over whole images weighs all channels alike, so channels may as well be columns: an image
[H, W, C] is read as [H * W, C / 16, 16], and summed down. With a result of one pixel and C channels
an NPU leaves most of its multipliers idle; with one of C / 16 pixels it does not, and takes a
twentieth of the cycles for 7 x 7 x 1280 on an Ethos-U85-256. No kernel is taller than 64: of more
pixels, every n-th is summed, and the n sums in int32 are added, as exact as one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ingot.targets.npu.cone import (
    Cone,
    Grid,
    Unfit,
    activation,
    constant,
    static_shape,
)
from ingot.targets.npu.rules.base import (
    Layer,
    OneSourceLayer,
    Rule,
    int_attribute,
    ints_attribute,
    to_nhwc,
)
from ingot.targets.npu.rules.convolution import explicit_pads, fitted_window
from ingot.targets.npu.rules.linear import finished
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

_MAX_KERNEL = 64
# Adding up more sums than these costs more than idle multipliers.
_MAX_SUMS = 16
# Channels that stay channels: what the micro-blocks of the larger NPUs are deep.
_DEPTHS = (16, 8)


@dataclasses.dataclass(frozen=True)
class Pool(OneSourceLayer):
    """A pool over windows.

    Attributes:
        maximum: Whether the largest is taken, else the mean.
        kernel: Height and width of the window.
        strides: Down and across.
        pads: Top, bottom, left, right.
        shape: Shape of the result, as the NPU has it.
        grid: The output's grid.
        bounds: Bounds of the output in integers.
    """

    maximum: bool
    kernel: Sequence[int]
    strides: Sequence[int]
    pads: Sequence[int]
    shape: tuple[int, ...]
    grid: Grid
    bounds: tuple[int, int]

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the pool of an NHWC image."""
        x, pads = fitted_window(graph, inputs[0], self.kernel, self.strides, self.pads, (1, 1))
        result = self._maximum(graph, x, pads) if self.maximum else self._mean(graph, x, pads)
        return graph.reshape(result, self.shape)

    def _maximum(self, graph: TosaGraph, x: TosaTensor, pads: Sequence[int]) -> TosaTensor:
        pooled = graph.max_pool(x, self.kernel, self.strides, pads)
        return graph.clamp(regridded(graph, pooled, self.source.grid, self.grid), *self.bounds)

    def _mean(self, graph: TosaGraph, x: TosaTensor, pads: Sequence[int]) -> TosaTensor:
        zero_point = self.source.grid.zero_point
        pixels = self.kernel[0] * self.kernel[1]
        whole = tuple(self.kernel) == x.shape[1:3] and not any(pads)
        view = _as_columns(x) if whole else None
        if view is None:
            sums = _window_sums(graph, x, zero_point, self.kernel, self.strides, pads)
        else:
            sums = _summed_down(graph, graph.reshape(x, view), zero_point, x.shape[3])
        factor = self.source.grid.scale / (pixels * self.grid.scale)
        return finished(graph, sums, np.full(sums.shape[3], factor), self.grid, self.bounds)


def _as_columns(x: TosaTensor) -> tuple[int, ...] | None:
    """The shape in which an image's pixels can be summed down; None where there is none."""
    batch, height, width, channels = x.shape
    # The 48 bits that sums of 16-bit integers come in cannot be added.
    most = _MAX_SUMS if x.dtype == "int8" else 1
    depth = next((depth for depth in _DEPTHS if channels % depth == 0), None)
    for sums in range(1, min(width, most) + 1):
        if width % sums == 0 and height * width // sums <= _MAX_KERNEL and depth is not None:
            return (batch, height * width // sums, sums * channels // depth, depth)
    return None


def _summed_down(graph: TosaGraph, x: TosaTensor, zero_point: int, channels: int) -> TosaTensor:
    """Sums a view of ``_as_columns`` to [N, 1, C / depth, depth]."""
    batch, rows, columns, depth = x.shape
    partial = _window_sums(graph, x, zero_point, (rows, 1), (1, 1), (0, 0, 0, 0))
    width = channels // depth
    if columns == width:
        return partial
    size = (batch, 1, width, depth)
    parts = [graph.slice(partial, (0, 0, start, 0), size) for start in range(0, columns, width)]
    return functools.reduce(lambda left, right: graph.binary("ADD", left, right), parts)


def _window_sums(
    graph: TosaGraph,
    x: TosaTensor,
    zero_point: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
) -> TosaTensor:
    """Sums windows of each channel: a depthwise convolution of ones."""
    channels = x.shape[3]
    return graph.conv2d(
        x, np.ones((*kernel, channels, 1), np.int8), np.zeros(channels), zero_point,
        strides=strides, pads=pads, dilations=(1, 1), depthwise=True,
    )  # fmt: skip


def regridded(graph: TosaGraph, x: TosaTensor, before: Grid, after: Grid) -> TosaTensor:
    """Brings integers from one grid to another; nothing where they are the same."""
    if before == after:
        return x
    factor = before.scale / after.scale
    return graph.rescale(x, factor, before.zero_point, after.zero_point, after.dtype)


class PoolingRule(Rule):
    """Pools of images of two spatial dimensions."""

    name: ClassVar[str] = "pooling"

    def match(self, cone: Cone) -> Layer:
        """Reads a pool."""
        node = cone.only()
        source = activation(node.inputs[0])
        if source is None:
            raise Unfit("its input is not integers")
        shape = static_shape(source.integers)
        out = static_shape(node.outputs[0])
        if len(shape) != 4:
            raise Unfit(f"a pool over a tensor of {len(shape)} axes")
        kernel, strides, pads = _window(node, shape, out)
        if node.op_type == "AveragePool" and any(pads) and not _counts_padding(node):
            raise Unfit("a mean that leaves out its padding")
        return Pool(
            source=source,
            maximum=node.op_type == "MaxPool",
            kernel=kernel,
            strides=strides,
            pads=pads,
            shape=to_nhwc(out),
            grid=cone.require_grid(),
            bounds=cone.integer_bounds(),
        )


def _counts_padding(node: ir.Node) -> bool:
    return bool(int_attribute(node, "count_include_pad", 0))


def _window(
    node: ir.Node, shape: Sequence[int], out: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Returns kernel, strides and padding (top, bottom, left, right)."""
    if node.op_type == "GlobalAveragePool" or (
        node.op_type == "ReduceMean" and _reduced_axes(node, len(shape)) == [2, 3]
    ):
        return list(shape[2:]), [1, 1], [0, 0, 0, 0]
    if node.op_type not in ("MaxPool", "AveragePool"):
        raise Unfit("not a pool of images")
    if any(step != 1 for step in ints_attribute(node, "dilations", (1, 1))):
        raise Unfit("a pool with gaps")
    if int_attribute(node, "ceil_mode", 0) or len(node.outputs) > 1:
        raise Unfit("a pool that counts partial windows, or gives indices")
    kernel = ints_attribute(node, "kernel_shape", ())
    strides = ints_attribute(node, "strides", (1, 1))
    return kernel, strides, explicit_pads(node, shape[2:], out[2:], kernel, strides, (1, 1))


def _reduced_axes(node: ir.Node, rank: int) -> list[int]:
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = ints_attribute(node, "axes", ()) if given is None else [int(axis) for axis in given]
    return sorted(axis % rank for axis in axes)
