"""A graph under construction, layer by layer, with its weights looked up by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.errors import ModelError

OPSET = 20
IR_VERSION = 9  # the IR version that was published together with opset 20

Weights = Mapping[str, npt.NDArray[Any]]


class LayerGraph:
    """Builds one ONNX graph; images are NCHW.

    A layer called ``block.conv`` becomes a node of that name, its output the value
    ``block.conv.out``, its parameters the initializers ``block.conv.weight`` and so on. Weights
    follow PyTorch's conventions: convolutions [out, in / groups, h, w], linear layers [out, in],
    a batch norm's ``weight``, ``bias``, ``running_mean`` and ``running_var``.
    """

    def __init__(self, name: str, weights: Weights) -> None:
        """Starts an empty graph.

        Args:
            name: The graph's name.
            weights: Arrays by name. ``finish`` requires that each of them was used.
        """
        self._name = name
        self._weights = weights
        self._inputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}
        self._used: set[str] = set()

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Adds a graph input; a string in ``shape`` is a symbolic dimension."""
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self._inputs.append(value)
        return value

    def constant(self, name: str, array: npt.ArrayLike) -> ir.Value:
        """Adds an initializer, or returns the one that already has this name."""
        if name not in self._initializers:
            values = np.ascontiguousarray(array).reshape(np.shape(array))
            tensor = ir.tensor(values, name=name)
            self._initializers[name] = ir.Value(
                name=name,
                shape=ir.Shape(values.shape),
                type=ir.TensorType(tensor.dtype),
                const_value=tensor,
            )
        return self._initializers[name]

    def weight(self, name: str) -> ir.Value:
        """Adds the weight of this name as an initializer.

        Raises:
            ModelError: The checkpoint has no such weight.
        """
        return self.constant(name, self.array(name))

    def has(self, name: str) -> bool:
        """Tells whether the checkpoint has a weight of this name."""
        return name in self._weights

    def array(self, name: str) -> npt.NDArray[Any]:
        """Takes the weight of this name as an array, to compute a constant from it."""
        if name not in self._weights:
            raise ModelError(
                f"the checkpoint has no weight {name!r}, which {self._name} needs; "
                "it belongs to another architecture"
            )
        self._used.add(name)
        return self._weights[name]

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], name: str, **attributes: Any
    ) -> ir.Value:
        """Adds a node with one output, ``<name>.out``, and returns that output."""
        output = ir.Value(name=f"{name}.out")
        node = ir.node(op_type, inputs, attributes=attributes, outputs=[output], name=name)
        self._nodes.append(node)
        return output

    def conv(
        self,
        x: ir.Value,
        name: str,
        *,
        stride: int = 1,
        pads: tuple[int, int] | tuple[int, int, int, int] = (0, 0),
        groups: int = 1,
        bias: bool = False,
    ) -> ir.Value:
        """A 2-D convolution.

        ``pads`` are the pixels before and after, the same on both axes; or top, left, bottom and
        right.
        """
        weight = self.weight(f"{name}.weight")
        kernel = list(self.array(f"{name}.weight").shape[2:])
        inputs = [x, weight, self.weight(f"{name}.bias")] if bias else [x, weight]
        return self.op(
            "Conv",
            inputs,
            name,
            kernel_shape=kernel,
            strides=[stride, stride],
            pads=list(pads) if len(pads) == 4 else [pads[0], pads[0], pads[1], pads[1]],
            dilations=[1, 1],
            group=groups,
        )

    def batch_norm(self, x: ir.Value, name: str, *, epsilon: float = 1e-5) -> ir.Value:
        """Batch normalization with the statistics of training, over axis 1."""
        parameters = ("weight", "bias", "running_mean", "running_var")
        inputs = [x, *(self.weight(f"{name}.{parameter}") for parameter in parameters)]
        return self.op("BatchNormalization", inputs, name, epsilon=epsilon)

    def relu6(self, x: ir.Value, name: str) -> ir.Value:
        """``min(max(x, 0), 6)``."""
        bounds = (
            self.constant("relu6.min", np.float32(0)),
            self.constant("relu6.max", np.float32(6)),
        )
        return self.op("Clip", [x, *bounds], name)

    def silu(self, x: ir.Value, name: str) -> ir.Value:
        """``x * sigmoid(x)``, as two nodes (ONNX has no operator for it before opset 24)."""
        gate = self.op("Sigmoid", [x], f"{name}.sigmoid")
        return self.op("Mul", [x, gate], name)

    def linear(self, x: ir.Value, name: str) -> ir.Value:
        """A linear layer with bias on [N, in], as one ``Gemm``."""
        inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.op("Gemm", inputs, name, transB=1)

    def dense(self, x: ir.Value, name: str) -> ir.Value:
        """A linear layer with bias on [..., in], as ``MatMul`` and ``Add``."""
        kernel = self.constant(f"{name}.kernel", self.array(f"{name}.weight").T)
        product = self.op("MatMul", [x, kernel], f"{name}.matmul")
        return self.op("Add", [product, self.weight(f"{name}.bias")], name)

    def layer_norm(self, x: ir.Value, name: str, *, epsilon: float) -> ir.Value:
        """Layer normalization over the last axis."""
        inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.op("LayerNormalization", inputs, name, axis=-1, epsilon=epsilon)

    def finish(self, output: ir.Value, name: str, shape: Sequence[int | str]) -> ir.Model:
        """Closes the graph with one float32 output.

        Raises:
            ModelError: A weight of the checkpoint was not used.
        """
        unused = sorted(set(self._weights) - self._used)
        if unused:
            raise ModelError(
                f"{self._name} has no use for the checkpoint's weight {unused[0]!r} "
                f"({len(unused)} such); it belongs to another architecture"
            )
        output.name = name
        output.shape = ir.Shape(shape)
        output.type = ir.TensorType(ir.DataType.FLOAT)
        graph = ir.Graph(
            self._inputs,
            [output],
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET},
            name=self._name,
        )
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="ingot")
