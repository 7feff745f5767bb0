"""Batch normalization, and per-channel scaling, into the convolution or product before it.

In inference ``y = (z - mean) / sqrt(var + eps) * gamma + beta`` is affine in each channel of
``z = W x + b``, so it is a convolution with ``W * s`` and ``(b - mean) * s + beta``, where
``s = gamma / sqrt(var + eps)``. The new weights are computed in float64 and rounded once.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import WIDE_FLOATS, Unfit, constant, require_dtype
from ingot.passes.base import PassOptions
from ingot.passes.fusion.channels import linear_before, per_channel
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass


@dataclasses.dataclass(frozen=True)
class _ChannelAffine:
    """``y = scale * z + offset`` in float64; scale and offset have the shape [channels]."""

    scale: npt.NDArray[Any]
    offset: npt.NDArray[Any]


class FuseConvBatchNorm(FusionPass[PassOptions]):
    """BatchNormalization, or Mul by a constant per channel, into Conv, ConvTranspose or Gemm.

    A two-dimensional MatMul becomes a Gemm, which has a bias.
    """

    name: ClassVar[str] = "fusion.conv-batch-norm"
    summary: ClassVar[str] = (
        "Fold batch normalization and per-channel scales into convolution and matrix product."
    )
    candidates: ClassVar[frozenset[str]] = frozenset({"BatchNormalization", "Mul"})
    forward: ClassVar[bool] = True

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches a normalization or scale that follows a linear operator."""
        is_norm = node.op_type == "BatchNormalization"
        found = linear_before(node, (0,) if is_norm else (0, 1))
        if found is None:
            return None
        linear, other = found
        if not is_norm and constant(other) is None:
            return None
        require_dtype(linear.weights, WIDE_FLOATS)
        weights = constant(linear.weights)
        if weights is None:
            raise Unfit(f"the weights of '{linear.node.name}' are not constant")
        bias = linear.constant_bias()
        if is_norm:
            affine = _read_batch_norm(node, linear.channels)
        else:
            factors = per_channel(constant(other), linear)
            affine = _ChannelAffine(factors, np.zeros_like(factors))
        folded = linear.scaled(weights, affine.scale)
        offset = bias * affine.scale + affine.offset
        if not (np.isfinite(folded).all() and np.isfinite(offset.astype(weights.dtype)).all()):
            raise Unfit("the folded weights would not be finite")
        # Without a bias before, a plain scale needs none after.
        kept_bias = is_norm or linear.bias is not None

        def build(builder: Builder) -> ir.Value:
            name = linear.weights.name or linear.node.name or "weights"
            inputs = [linear.node.inputs[0], builder.initializer(f"{name}_folded", folded)]
            if kept_bias:
                bias_name = name if linear.bias is None else linear.bias.name
                suffix = "bias" if linear.bias is None else "folded"
                rounded = offset.astype(weights.dtype)
                inputs.append(builder.initializer(f"{bias_name}_{suffix}", rounded))
            op_type = linear.fused_op_type if kept_bias else linear.node.op_type
            return builder.node(op_type, inputs, linear.fused_attributes())

        return Fusion(node, {node, linear.node}, build, anchor=linear.node)


def _read_batch_norm(node: ir.Node, channels: int) -> _ChannelAffine:
    if node.attributes.get_int("training_mode", 0):
        raise Unfit("it normalizes with the batch's own statistics (training_mode=1)")
    if node.attributes.get_int("spatial", 1) == 0:
        raise Unfit("it normalizes each position by itself (spatial=0)")
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise Unfit("its running statistics are read")
    arrays = [constant(value) for value in node.inputs[1:5]]
    parameters = [array.astype(np.float64) for array in arrays if array is not None]
    if len(parameters) < 4:
        raise Unfit("its scale, bias, mean or variance is not constant")
    if any(parameter.shape != (channels,) for parameter in parameters):
        raise Unfit(f"its parameters do not have the {channels} channels of what is before it")
    gamma, beta, mean, variance = parameters
    shifted = variance + (node.attributes.get_float("epsilon", 1e-5) or 0.0)
    if not (shifted > 0.0).all():
        raise Unfit("its variance plus epsilon is not positive in each channel")
    scale = gamma / np.sqrt(shifted)
    return _ChannelAffine(scale, beta - mean * scale)
