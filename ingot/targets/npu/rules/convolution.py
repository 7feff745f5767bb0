"""Conv: CONV2D or DEPTHWISE_CONV2D, then one RESCALE per output channel and a CLAMP.

Exactness. Weights have no zero point, and the bias lies on the grid ``s_x * s_w[c]``, so the int32
accumulator is exactly the real result in that unit: ``sum((x - z_x) * w) + b``. RESCALE multiplies
it by ``s_x * s_w[c] / s_y`` with 31 significant bits and rounds once. A result can differ from
QuantizeLinear of the exact product only where that lies within ``2 ** -31`` of its size from the
middle between two integers (there RESCALE rounds up, QuantizeLinear to even): one unit at most.
Relu and Clip commute with rounding to the grid because both are monotonic: CLAMP between their
quantized bounds is exact.

Padding: TOSA pads with the zero point, as ONNX does with zero, and asks that strides divide
``in - 1 + pads - (kernel - 1) * dilation``; what the last stride would not reach is trimmed from
the padding at the end, or sliced off the input.

A grouped convolution is one convolution per group on slices of the channels, concatenated: the
same sums. One with a single input channel per group is depthwise, once for each of the results that
a channel has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ingot.targets.npu.cone import Cone, Unfit, static_shape
from ingot.targets.npu.rules.base import Layer, Rule, int_attribute, ints_attribute
from ingot.targets.npu.rules.linear import Linear, finished, linear_operands
from ingot.targets.npu.tosa import TosaGraph, TosaTensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution(Linear):
    """A convolution; its weights are [O, C / groups, KH, KW].

    Attributes:
        strides: Down and across.
        pads: Top, bottom, left, right.
        dilations: Down and across.
        groups: As in ONNX.
    """

    strides: Sequence[int]
    pads: Sequence[int]
    dilations: Sequence[int]
    groups: int

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the convolution of an NHWC image."""
        x, pads = fitted_window(
            graph, inputs[0], self.weights.shape[2:], self.strides, self.pads, self.dilations
        )
        per_group = self.weights.shape[1]
        if self.groups == 1:
            parts = [self._part(graph, x, pads, slice(None), depthwise=False)]
        elif per_group == 1:
            return self._depthwise(graph, x, pads)
        else:
            rows = len(self.weights) // self.groups
            parts = [
                self._part(
                    graph,
                    graph.slice(x, (0, 0, 0, group * per_group), (*x.shape[:3], per_group)),
                    pads,
                    slice(group * rows, (group + 1) * rows),
                    depthwise=False,
                )
                for group in range(self.groups)
            ]
        return parts[0] if len(parts) == 1 else graph.concat(parts, axis=3)

    def _depthwise(self, graph: TosaGraph, x: TosaTensor, pads: Sequence[int]) -> TosaTensor:
        """One depthwise convolution for each result of a channel, channels interleaved behind.

        Vela 5.2 would make the same of DEPTHWISE_CONV2D with several results of a channel, but
        loses the padding before a slice that it reads.
        """
        many = len(self.weights) // self.groups
        parts = [
            self._part(graph, x, pads, slice(index, None, many), depthwise=True)
            for index in range(many)
        ]
        if many == 1:
            return parts[0]
        together = graph.concat(parts, axis=3)
        pixels = int(np.prod(together.shape[:3], dtype=np.int64))
        split = graph.reshape(together, (pixels, many, self.groups))
        return graph.reshape(graph.transpose(split, (0, 2, 1)), together.shape)

    def _part(
        self, graph: TosaGraph, x: TosaTensor, pads: Sequence[int], rows: slice, depthwise: bool
    ) -> TosaTensor:
        order = (2, 3, 0, 1) if depthwise else (0, 2, 3, 1)
        sums = graph.conv2d(
            x, self.weights[rows].transpose(order), self.bias[rows], self.source.grid.zero_point,
            strides=self.strides, pads=pads, dilations=self.dilations, depthwise=depthwise,
        )  # fmt: skip
        return finished(graph, sums, self.factors[rows], self.grid, self.bounds)


class ConvolutionRule(Rule):
    """Conv of two spatial dimensions (or one) with constant weights."""

    name: ClassVar[str] = "convolution"

    def match(self, cone: Cone) -> Layer:
        """Reads a Conv."""
        node = cone.only()
        if node.op_type != "Conv":
            raise Unfit("not a convolution")
        source, weights, bias, factors = linear_operands(cone, node)
        if weights.ndim != 4:
            raise Unfit(f"a convolution of {weights.ndim - 2} spatial dimensions")
        strides = ints_attribute(node, "strides", (1, 1))
        dilations = ints_attribute(node, "dilations", (1, 1))
        shape = static_shape(source.integers)
        out = static_shape(node.outputs[0])
        pads = explicit_pads(node, shape[2:], out[2:], weights.shape[2:], strides, dilations)
        return Convolution(
            source=source,
            weights=weights,
            bias=bias,
            factors=factors,
            grid=cone.grid,
            bounds=(0, 0) if cone.grid is None else cone.integer_bounds(),
            strides=strides,
            pads=pads,
            dilations=dilations,
            groups=int_attribute(node, "group", 1),
            macs=int(np.prod(out, dtype=np.int64) * np.prod(weights.shape[1:], dtype=np.int64)),
        )


def explicit_pads(
    node: ir.Node,
    size: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """Returns the padding as top, bottom, left, right."""
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for i in (0, 1):
            total = max((out[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size[i], 0)
            small, large = total // 2, total - total // 2
            pads += [small, large] if automatic == "SAME_UPPER" else [large, small]
        return pads
    top, left, bottom, right = ints_attribute(node, "pads", (0, 0, 0, 0))
    return [top, bottom, left, right]


def fitted_window(
    graph: TosaGraph,
    x: TosaTensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> tuple[TosaTensor, list[int]]:
    """Drops what the last stride does not reach: first padding at the end, then the input."""
    fitted = list(pads)
    sizes = list(x.shape)
    for i in (0, 1):
        before, after = pads[2 * i : 2 * i + 2]
        reach = x.shape[1 + i] - 1 + before + after - (kernel[i] - 1) * dilations[i]
        excess = reach % strides[i]
        trimmed = min(excess, after)
        fitted[2 * i + 1] = after - trimmed
        sizes[1 + i] -= excess - trimmed
    if tuple(sizes) != x.shape:
        x = graph.slice(x, (0, 0, 0, 0), sizes)
    return x, fitted
