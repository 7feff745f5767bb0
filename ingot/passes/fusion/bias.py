"""An added constant into the bias of the convolution or matrix product before it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.matching import WIDE_FLOATS, Unfit, constant, require_dtype
from ingot.passes.base import PassOptions
from ingot.passes.fusion.channels import linear_before, per_channel
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass


class FuseBias(FusionPass[PassOptions]):
    """Add (or Sub) of a constant per channel into the bias of Conv, ConvTranspose or Gemm.

    A MatMul of two two-dimensional operands becomes a Gemm; its second operand need not be
    constant. Other ranks of MatMul stay: a Gemm for them would need a reshape on each side.
    """

    name: ClassVar[str] = "fusion.bias"
    summary: ClassVar[str] = "Make an added constant the bias of a convolution or matrix product."
    candidates: ClassVar[frozenset[str]] = frozenset({"Add", "Sub"})
    forward: ClassVar[bool] = True

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches an addition whose one operand is constant and whose other one is linear."""
        if not any(constant(value) is not None for value in node.inputs):
            return None
        # In c - Wx the weights would change their sign as well; nobody exports that.
        positions = (0, 1) if node.op_type == "Add" else (0,)
        if node.op_type == "Sub" and constant(node.inputs[1]) is None:
            return None
        found = linear_before(node, positions)
        if found is None:
            return None
        linear, other = found
        addend = constant(other if node.op_type == "Add" else node.inputs[1])
        if addend is None:
            return None
        require_dtype(linear.weights, WIDE_FLOATS)
        sign = -1.0 if node.op_type == "Sub" else 1.0
        bias = linear.constant_bias() + sign * per_channel(addend, linear)
        rounded = bias.astype(addend.dtype)
        if not np.isfinite(rounded).all():
            raise Unfit("the constant is not finite")

        def build(builder: Builder) -> ir.Value:
            name = f"{linear.node.name}.bias" if linear.bias is None else linear.bias.name
            inputs = [*linear.node.inputs[:2], builder.initializer(str(name), rounded)]
            return builder.node(linear.fused_op_type, inputs, linear.fused_attributes())

        return Fusion(node, {node, linear.node}, build, anchor=linear.node)
