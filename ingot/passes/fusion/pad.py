"""Constant padding into the convolution or pooling after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit, constant, producer, rank, scalar
from ingot.passes.base import EXACT, PassOptions, Tolerance
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass

_NON_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax")


class FusePad(FusionPass[PassOptions]):
    """Pad with a constant into the ``pads`` of Conv, AveragePool or MaxPool.

    - Conv pads with zeros, so the padding must be zero.
    - AveragePool counts its own padding only with ``count_include_pad=1``, while it always counts
      what a Pad put there. So it gets that attribute, and must not have pads it does not count.
    - MaxPool pads with minus infinity. A zero in the border changes no maximum where all elements
      are known to be at least zero, as after a Relu.
    """

    name: ClassVar[str] = "fusion.pad"
    summary: ClassVar[str] = "Make constant padding an attribute of convolution or pooling."
    tolerance: ClassVar[Tolerance] = EXACT
    candidates: ClassVar[frozenset[str]] = frozenset({"Conv", "AveragePool", "MaxPool"})

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches a convolution or pooling that reads a padded value."""
        pad = producer(node.inputs[0], "Pad")
        if pad is None:
            return None
        x = pad.inputs[0]
        dims = _rank_of(node, x)
        added = _read_pads(pad, dims)
        own = _own_pads(node, dims)
        pads = [a + b for a, b in zip(added, own, strict=True)]
        attributes = [a for name, a in node.attributes.items() if name not in ("pads", "auto_pad")]
        value = _fill(pad)
        if node.op_type == "Conv":
            if value != 0.0:
                raise Unfit(f"the padding is {value:g}, a convolution pads with zeros")
        else:
            _check_window(node, pads)
            if node.op_type == "MaxPool":
                _check_max_pool(node, value, x)
            else:
                _check_average_pool(node, value, own)
                attributes = [a for a in attributes if a.name != "count_include_pad"]
                attributes.append(ir.AttrInt64("count_include_pad", 1))

        def build(builder: Builder) -> ir.Value:
            fused = [*attributes, ir.AttrInt64s("pads", pads)]
            return builder.node(node.op_type, [x, *node.inputs[1:]], fused)

        return Fusion(node, {node, pad}, build)


def _rank_of(node: ir.Node, x: ir.Value | None) -> int:
    kernel = node.attributes.get_ints("kernel_shape", ())
    known = rank(x) or (rank(node.inputs[1]) if node.op_type == "Conv" else None)
    if known is None and kernel:
        return len(kernel) + 2
    if known is None:
        raise Unfit("the number of dimensions of what is padded is unknown")
    return known


def _read_pads(pad: ir.Node, dims: int) -> list[int]:
    """Spatial begins, then spatial ends."""
    if (pad.attributes.get_string("mode", "constant") or "constant") != "constant":
        raise Unfit("the padding is not constant")
    if "pads" in pad.attributes:  # up to opset 10
        pads: Sequence[int] = pad.attributes["pads"].as_ints()
    else:
        array = constant(pad.inputs[1])
        if array is None:
            raise Unfit("the padding's width is computed")
        pads = [int(width) for width in array.reshape(-1)]
    axes = list(range(dims))
    if len(pad.inputs) > 3 and pad.inputs[3] is not None:
        chosen = constant(pad.inputs[3])
        if chosen is None:
            raise Unfit("the padding's axes are computed")
        axes = [int(axis) % dims for axis in chosen.reshape(-1)]
    full = [0] * (2 * dims)
    for position, axis in enumerate(axes):
        full[axis] = pads[position]
        full[dims + axis] = pads[len(axes) + position]
    if any(full[:2]) or any(full[dims : dims + 2]):
        raise Unfit("the batch or the channels are padded")
    spatial = full[2:dims] + full[dims + 2 :]
    if min(spatial, default=0) < 0:
        raise Unfit("the padding is negative: it crops")
    return spatial


def _own_pads(node: ir.Node, dims: int) -> list[int]:
    none = [0] * (2 * (dims - 2))
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto == "VALID":
        return none
    if auto != "NOTSET":
        raise Unfit(f"'{node.name}' computes its own padding (auto_pad={auto})")
    return list(node.attributes.get_ints("pads", none) or none)


def _fill(pad: ir.Node) -> float:
    if "value" in pad.attributes:  # up to opset 10
        return pad.attributes["value"].as_float()
    if len(pad.inputs) < 3 or pad.inputs[2] is None:
        return 0.0
    value = scalar(pad.inputs[2])
    if value is None:
        raise Unfit("the padding's value is computed")
    return value


def _check_window(node: ir.Node, pads: Sequence[int]) -> None:
    """Checks that each window holds an element that is not padding, and where windows end."""
    kernel = node.attributes["kernel_shape"].as_ints()
    if node.attributes.get_int("ceil_mode", 0):
        raise Unfit("with ceil_mode, windows may reach beyond the padding")
    if any(dilation != 1 for dilation in node.attributes.get_ints("dilations", ()) or ()):
        raise Unfit("the pooling is dilated")
    if any(width >= size for width, size in zip(pads, [*kernel, *kernel], strict=True)):
        raise Unfit("a window could hold nothing but padding")


def _check_max_pool(node: ir.Node, value: float, x: ir.Value | None) -> None:
    if any(indices.uses() or indices.is_graph_output() for indices in node.outputs[1:]):
        raise Unfit("the indices of the maxima are read: they count the padding")
    if value == -math.inf:
        return
    if value != 0.0:
        raise Unfit(f"the padding is {value:g}, max pooling pads with minus infinity")
    source = producer(x, *_NON_NEGATIVE, "Clip")
    if source is None:
        raise Unfit("the padding is zero, and the elements may be negative")
    if source.op_type == "Clip":
        low = scalar(source.inputs[1]) if len(source.inputs) > 1 else None
        if low is None or low < 0.0:
            raise Unfit("the padding is zero, and the elements may be negative")


def _check_average_pool(node: ir.Node, value: float, own: Sequence[int]) -> None:
    if value != 0.0:
        raise Unfit(f"the padding is {value:g}, average pooling pads with zeros")
    if any(own) and not node.attributes.get_int("count_include_pad", 0):
        raise Unfit("the pooling has padding of its own that it does not count")
