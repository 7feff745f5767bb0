"""Layers with constant weights: where the multiplications of a network are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import constant_tensor, rank

FloatArray = npt.NDArray[np.float32]

LINEAR_OPERATORS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclasses.dataclass(frozen=True)
class LinearLayer:
    """A Conv, Gemm or MatMul whose second input is a constant float32 tensor.

    Attributes:
        node: The operator; its first input is the activation.
        channel_axis: The axis of the weights along which output channels run.
    """

    node: ir.Node
    channel_axis: int

    @property
    def weights(self) -> ir.Value:
        """Conv [M, C/group, k...], MatMul [K, N], Gemm [K, N], or [N, K] with transB."""
        value = self.node.inputs[1]
        assert value is not None
        return value

    @property
    def activation(self) -> ir.Value:
        """The input that is multiplied by the weights."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        """The layer's result, before any activation function."""
        return self.node.outputs[0]

    @property
    def bias(self) -> ir.Value | None:
        """The third input, where there is one."""
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    @property
    def groups(self) -> int:
        """The groups of a convolution; 1 for products."""
        return self.node.attributes.get_int("group", 1) or 1

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return int(self.array().shape[self.channel_axis])

    def array(self) -> FloatArray:
        """The weights' elements."""
        tensor = constant_tensor(self.weights)
        assert tensor is not None
        return np.asarray(tensor.numpy(), np.float32)

    def constant_bias(self) -> FloatArray | None:
        """The bias as one number per channel, [channels]; None where it is not of this form.

        That of a Gemm may be a scalar, or have leading axes of size one.
        """
        tensor = constant_tensor(self.bias)
        if tensor is None:
            return None
        array = np.asarray(tensor.numpy(), np.float32)
        if array.size not in (1, self.channels) or any(size != 1 for size in array.shape[:-1]):
            return None
        return np.array(np.broadcast_to(array.reshape(-1), (self.channels,)))

    def to_rows(self, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Weights as one row per output channel, [channels, inputs of one channel]."""
        moved = np.moveaxis(weights, self.channel_axis, 0)
        return moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))

    def from_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The inverse of :meth:`to_rows`."""
        shape = list(self.array().shape)
        channels = shape.pop(self.channel_axis)
        moved = rows.reshape(channels, *shape)
        return np.ascontiguousarray(np.moveaxis(moved, 0, self.channel_axis))

    def per_channel(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A vector [channels] in a shape that broadcasts against the weights."""
        shape = [1] * len(self.array().shape)
        shape[self.channel_axis] = -1
        return values.reshape(shape)


def linear_layer(node: ir.Node) -> LinearLayer | None:
    """Reads a node as a linear layer; None if it is none that can have integer weights.

    A Gemm has to be plain (alpha and beta 1, transA 0), as every exporter writes a dense layer.
    """
    if node.domain != "" or node.op_type not in LINEAR_OPERATORS or why_not_linear(node):
        return None
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0
    return LinearLayer(node, 0 if node.op_type == "Conv" or transposed else 1)


def why_not_linear(node: ir.Node) -> str | None:
    """Why a Conv, Gemm or MatMul cannot have integer weights; None where it can."""
    activation, weights = (*node.inputs, None, None)[:2]
    tensor = constant_tensor(weights)
    if activation is None or weights is None or tensor is None:
        return "its second operand is no constant"
    if constant_tensor(activation) is not None:
        return "both of its operands are constants"
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its weights are {tensor.dtype.name}, not float32"
    if node.op_type == "Conv":
        return None
    if rank(weights) != 2:
        return f"its weights are no matrix but of rank {rank(weights)}"
    if node.op_type == "Gemm":
        attributes = node.attributes
        factors = [attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
        if factors != [1.0, 1.0] or attributes.get_int("transA", 0) != 0:
            return "it has factors (alpha, beta), or a transposed activation"
    return None


def linear_layers(graph: ir.Graph) -> Iterator[LinearLayer]:
    """The linear layers of a graph (not of its subgraphs), in order."""
    for node in graph:
        layer = linear_layer(node)
        if layer is not None:
            yield layer
