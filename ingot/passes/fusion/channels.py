"""Operators that are linear in their input, with weights and a bias per output channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit, constant, producer, rank

_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CHANNEL_AXIS = 1  # of the output, in all four


@dataclasses.dataclass(frozen=True)
class Linear:
    """A Conv, ConvTranspose, Gemm or MatMul whose second input holds weights.

    Attributes:
        node: The operator.
        weights: Conv [M, C/group, k…], ConvTranspose [C, M/group, k…], Gemm and MatMul [K, N],
            or [N, K] for a Gemm with transB.
        bias: The third input, if there is one.
        channels: M or N, the size of the output's channel axis.
        output_rank: The number of dimensions of the output.
    """

    node: ir.Node
    weights: ir.Value
    bias: ir.Value | None
    channels: int
    output_rank: int

    @property
    def fused_op_type(self) -> str:
        """The operator that the node becomes when it gets a bias: a MatMul has none."""
        return "Gemm" if self.node.op_type == "MatMul" else self.node.op_type

    def fused_attributes(self) -> list[ir.Attr]:
        """The node's attributes, with the factor of Gemm's bias folded into the bias."""
        return [a for name, a in self.node.attributes.items() if name != "beta"]

    def constant_bias(self) -> npt.NDArray[Any]:
        """The bias per channel in float64, zeros where there is none; [channels].

        Raises:
            Unfit: The bias is not constant, or not the same for each row of a Gemm.
        """
        if self.bias is None:
            return np.zeros(self.channels)
        array = constant(self.bias)
        if array is None:
            raise Unfit(f"the bias of '{self.node.name}' is not constant")
        if self.node.op_type == "Gemm":
            beta = self.node.attributes.get_float("beta", 1.0) or 0.0
            return np.asarray(beta * per_channel(array, self))
        return np.asarray(array, np.float64)

    def scaled(self, weights: npt.NDArray[Any], scale: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The weights times a factor for each output channel, in the weights' own dtype."""
        scaled: npt.NDArray[Any]
        wide = weights.astype(np.float64)
        if self.node.op_type == "Conv":
            shape = (-1, *(1,) * (wide.ndim - 1))
            scaled = wide * scale.reshape(shape)
        elif self.node.op_type == "ConvTranspose":
            groups = self.node.attributes.get_int("group", 1) or 1
            grouped = wide.reshape(groups, wide.shape[0] // groups, *wide.shape[1:])
            shape = (groups, 1, wide.shape[1], *(1,) * (wide.ndim - 2))
            scaled = (grouped * scale.reshape(shape)).reshape(wide.shape)
        elif self.node.op_type == "Gemm" and self.node.attributes.get_int("transB", 0) != 0:
            scaled = wide * scale[:, None]
        else:
            scaled = wide * scale[None, :]
        return np.asarray(scaled, weights.dtype)


def per_channel(array: npt.NDArray[Any] | None, linear: Linear) -> npt.NDArray[Any]:
    """Reads a constant operand as one number per channel of the operator's output.

    Args:
        array: Broadcasts against the output.
        linear: Whose output it is.

    Returns:
        float64, [channels].

    Raises:
        Unfit: The constant varies along another axis, or would enlarge the output.
    """
    if array is None or array.ndim > linear.output_rank:
        raise Unfit("the constant has more dimensions than what it is applied to")
    shape = (1,) * (linear.output_rank - array.ndim) + array.shape
    elsewhere = shape[:_CHANNEL_AXIS] + shape[_CHANNEL_AXIS + 1 :]
    if any(size != 1 for size in elsewhere):
        raise Unfit("the constant varies along another axis than that of the channels")
    if shape[_CHANNEL_AXIS] not in (1, linear.channels):
        raise Unfit(f"the constant does not fit the {linear.channels} channels")
    flat = np.asarray(array, np.float64).reshape(-1)
    return np.array(np.broadcast_to(flat, (linear.channels,)))


def linear_before(node: ir.Node, positions: Sequence[int]) -> tuple[Linear, ir.Value | None] | None:
    """Finds the linear operator that computes an operand of ``node``.

    A MatMul counts when both of its operands are known to have two dimensions.

    Args:
        node: Applies something to the operator's output.
        positions: Which of its inputs to look at.

    Returns:
        The operator and the other one of two inputs (None where there is but one position), or
        None if no operand comes from a linear operator.

    Raises:
        Unfit: The shape of the operator's weights is unknown.
    """
    for position in positions:
        found = producer(node.inputs[position], *_OPERATORS)
        if found is not None and (found.op_type != "MatMul" or _is_two_dimensional(found)):
            other = node.inputs[1 - position] if len(positions) == 2 else None
            return _describe(found), other
    return None


def _is_two_dimensional(matmul: ir.Node) -> bool:
    return all(rank(value) == 2 for value in matmul.inputs)


def _describe(node: ir.Node) -> Linear:
    weights = node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weights is None or weights.shape is None:
        raise Unfit(f"the shape of the weights of '{node.name}' is unknown")
    weights_rank = rank(weights) or 0
    if node.op_type == "Conv":
        channels = weights.shape[0]
    elif node.op_type == "ConvTranspose":
        groups = node.attributes.get_int("group", 1) or 1
        per_group = weights.shape[1]
        channels = per_group * groups if isinstance(per_group, int) else per_group
    else:
        channels = weights.shape[0 if node.attributes.get_int("transB", 0) else 1]
    if not isinstance(channels, int):
        raise Unfit(f"the number of channels of '{node.name}' is unknown")
    return Linear(node, weights, bias, channels, weights_rank)
