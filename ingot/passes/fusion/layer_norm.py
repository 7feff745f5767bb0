"""Layer normalization in its spelled-out forms.

Ba, Kiros and Hinton, "Layer Normalization" (2016): (x - mean) / sqrt(var + eps) * scale + bias,
mean and biased variance taken over the last axes.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_ir as ir

from ingot.onnx_graph.matching import WIDE_FLOATS, Unfit, commuted, producer, require_dtype
from ingot.passes.base import PassOptions
from ingot.passes.fusion.normalization import (
    Nodes,
    Root,
    Weight,
    normalized_dims,
    ones,
    read_affine,
    read_inverse_root,
    read_mean,
    read_quotients,
    read_square,
    read_weight,
    stash_type,
)
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass


@dataclasses.dataclass(frozen=True)
class _Core:
    """A layer normalization without the scale and bias that may follow it."""

    node: ir.Node
    x: ir.Value
    axes: int
    epsilon: float
    nodes: Nodes


class FuseLayerNorm(FusionPass[PassOptions]):
    """Spelled-out layer normalization to LayerNormalization (opset 17).

    - As PyTorch writes it: the deviation from the mean, divided by sqrt(var + eps), or multiplied
      by its reciprocal; the square is a Mul or a Pow; scale and bias or not.
    - As TensorFlow writes it: x * s + (bias - mean * s) with s = scale / sqrt(var + eps).
    - As a simplifier leaves it: RMSNormalization of the deviation from the mean.
    """

    name: ClassVar[str] = "fusion.layer-norm"
    summary: ClassVar[str] = "Recognize layer normalization from its spelled-out forms."
    candidates: ClassVar[frozenset[str]] = frozenset(
        {"Div", "Mul", "Add", "Sub", "RMSNormalization"}
    )
    forward: ClassVar[bool] = True

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches the node where the normalized value, or its factored form, is complete."""
        if node.op_type in ("Add", "Sub"):
            return _match_factored(node)
        core = _read_rms(node) if node.op_type == "RMSNormalization" else _read_quotient(node)
        if core is None:
            return None
        require_dtype(core.x, WIDE_FLOATS)
        dims = normalized_dims(core.x, core.axes)
        scale: Weight | None = None
        if node.op_type == "RMSNormalization":
            scale = read_weight(node.inputs[1], core.x, dims)
            if scale is None:
                raise Unfit("its scale does not have the shape of the normalized axes")
            affine = read_affine(node, core.x, dims, ("Add",))
        else:
            affine = read_affine(node, core.x, dims)
            scale = affine.scale
        return _fusion(affine.root, core, core.nodes | affine.nodes, scale, affine.bias, dims)


def _fusion(
    root: ir.Node,
    core: _Core,
    region: Nodes,
    scale: Weight | None,
    bias: Weight | None,
    dims: tuple[int, ...],
) -> Fusion:
    x = core.x
    attributes = {"axis": -core.axes, "epsilon": core.epsilon, **stash_type(x)}

    def build(builder: Builder) -> ir.Value:
        inputs = [x, ones(builder, x, dims) if scale is None else scale.emit(builder)]
        if bias is not None:
            inputs.append(bias.emit(builder))
        return builder.node("LayerNormalization", inputs, attributes)

    return Fusion(root, region, build, opset=17, operator="LayerNormalization")


def _read_deviation(value: ir.Value | None) -> tuple[ir.Value, int, Nodes] | None:
    """Reads ``x - mean(x)``; returns x, the number of trailing axes, and the nodes."""
    node = producer(value, "Sub")
    mean = None if node is None else read_mean(node.inputs[1])
    if node is None or mean is None or node.inputs[0] is not mean.of:
        return None
    return mean.of, mean.trailing(), frozenset({node, mean.node})


def _read_variance(value: ir.Value, x: ir.Value, axes: int) -> Nodes | None:
    """Whether a value is the biased variance of ``x`` over its trailing axes; returns its nodes."""
    mean = read_mean(value)
    square = None if mean is None else read_square(mean.of)
    deviation = None if square is None else _read_deviation(square[0])
    if mean is None or square is None or deviation is None or deviation[0] is not x:
        return None
    if mean.trailing() != axes or deviation[1] != axes:
        raise Unfit("mean and variance run over different axes")
    return deviation[2] | {mean.node, square[1]}


def _read_quotient(node: ir.Node) -> _Core | None:
    for operand, root in read_quotients(node):
        deviation = _read_deviation(operand)
        if deviation is None:
            continue
        x, axes, nodes = deviation
        variance = _read_variance(root.mean_square, x, axes)
        if variance is not None:
            return _Core(node, x, axes, root.epsilon, nodes | variance | root.nodes | {node})
    return None


def _read_rms(node: ir.Node) -> _Core | None:
    deviation = _read_deviation(node.inputs[0])
    if deviation is None:
        return None
    x, axes, nodes = deviation
    axis = node.attributes.get_int("axis", -1)
    if axis not in (-axes, len(x.shape or ()) - axes):
        raise Unfit("mean and variance run over different axes")
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    return _Core(node, x, axes, epsilon, nodes | {node})


def _match_factored(node: ir.Node) -> Fusion | None:
    """``x * s + (bias - mean * s)``, or ``x * s - mean * s``."""
    orders: list[tuple[ir.Value | None, ir.Value | None, ir.Value | None, Nodes]] = []
    if node.op_type == "Sub":
        orders.append((node.inputs[0], node.inputs[1], None, frozenset()))
    else:
        for product, rest in commuted(node):
            sub = producer(rest, "Sub")
            if sub is not None:
                orders.append((product, sub.inputs[1], sub.inputs[0], frozenset({sub})))
    for scaled, shift, bias_value, nodes in orders:
        found = _read_common_factor(scaled, shift)
        if found is None:
            continue
        core, scale_value = found
        require_dtype(core.x, WIDE_FLOATS)
        dims = normalized_dims(core.x, core.axes)
        scale = read_weight(scale_value, core.x, dims)
        bias = read_weight(bias_value, core.x, dims)
        if (scale is None) != (scale_value is None) or (bias is None) != (bias_value is None):
            raise Unfit("its scale or bias does not have the shape of the normalized axes")
        return _fusion(node, core, core.nodes | nodes | {node}, scale, bias, dims)
    return None


def _read_common_factor(
    scaled: ir.Value | None, shift: ir.Value | None
) -> tuple[_Core, ir.Value | None] | None:
    """Reads ``x * s`` and ``mean * s``, ``s = scale / sqrt(var + eps)``; returns the scale."""
    left, right = producer(scaled, "Mul"), producer(shift, "Mul")
    if left is None or right is None:
        return None
    for x, factor in commuted(left):
        for mean_value, same in commuted(right):
            mean = read_mean(mean_value) if same is factor else None
            inverse = _read_scaled_root(factor) if mean is not None else None
            if mean is None or inverse is None or mean.of is not x:
                continue
            root, scale, nodes = inverse
            axes = mean.trailing()
            variance = _read_variance(root.mean_square, x, axes)
            if variance is not None:
                region = nodes | variance | root.nodes | {left, right, mean.node}
                return _Core(left, x, axes, root.epsilon, region), scale
    return None


def _read_scaled_root(value: ir.Value) -> tuple[Root, ir.Value | None, Nodes] | None:
    root = read_inverse_root(value)
    if root is not None:
        return root, None, frozenset()
    node = producer(value, "Mul", "Div")
    if node is None:
        return None
    for scale, inverse in read_quotients(node):
        return inverse, scale, frozenset({node})
    return None
