"""Writing ONNX graphs node by node, with seeded weights: what the builders of networks share.

graph = GraphWriter("net", opset=18, seed=0)
x = graph.input("x", np.float32, ["N", 8])
graph.output("y", graph.op("Relu", graph.linear(x, 8, 4)), ["N", 4])
model = graph.model()
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Shape = Sequence[int | str]
Array = npt.NDArray[Any]


class GraphWriter:
    """An ONNX graph while it is written; values go by name."""

    def __init__(self, name: str, *, opset: int, seed: int = 0) -> None:
        """Begins an empty graph.

        Args:
            name: Its name.
            opset: Version of the standard operators.
            seed: Of the weights.
        """
        self._name, self._opset = name, opset
        self._generator = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._constants: dict[bytes, str] = {}
        self._count = 0

    def input(self, name: str, dtype: npt.DTypeLike, shape: Shape) -> str:
        """Declares an input; strings are open dimensions."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(
        self, name: str, value: str, shape: Shape, dtype: npt.DTypeLike = np.float32
    ) -> None:
        """Makes a value an output of that name."""
        self._nodes.append(helper.make_node("Identity", [value], [name], f"{name}_identity"))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def weight(self, *shape: int, scale: float | None = None, name: str = "weight") -> str:
        """Draws a weight, normally distributed.

        Args:
            shape: Its dimensions.
            scale: Its standard deviation; by default such that products of rows keep theirs.
            name: What its name begins with.
        """
        if scale is None:
            scale = 1.0 / math.sqrt(shape[0])
        drawn = self._generator.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        return self.array(drawn, name)

    def skip_weight(self, *shape: int) -> None:
        """Draws a weight that this graph lacks, so that the next ones are those of a fuller one."""
        self._generator.standard_normal(shape, dtype=np.float32)

    def array(self, values: npt.ArrayLike, name: str = "constant") -> str:
        """Adds an initializer; equal small ones are one."""
        array = np.asarray(values)
        key = repr((array.dtype, array.shape)).encode() + array.tobytes()
        if array.size <= 16 and key in self._constants:
            return self._constants[key]
        name = self._fresh(name)
        self._weights[name] = numpy_helper.from_array(array, name)
        self._constants[key] = name
        return name

    def ints(self, *values: int) -> str:
        """A constant of 64-bit integers, of one dimension."""
        return self.array(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """A scalar 64-bit integer."""
        return self.array(np.array(value, np.int64))

    def number(self, value: float) -> str:
        """A scalar float."""
        return self.array(np.array(value, np.float32))

    def op(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node of one output; returns its value."""
        return self.ops(operator, 1, *inputs, domain=domain, **attributes)[0]

    def ops(
        self, operator: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Adds a node of several outputs; returns their values."""
        name = self._fresh(operator)
        values = [name if outputs == 1 else f"{name}_{output}" for output in range(outputs)]
        node = helper.make_node(operator, inputs, values, name, domain=domain, **attributes)
        self._nodes.append(node)
        return values

    def size(self, value: str, axis: int) -> str:
        """A dimension of a value as a scalar, as exporters write it: Gather of Shape."""
        return self.op("Gather", self.op("Shape", value), self.integer(axis), axis=0)

    def sizes(self, *parts: str | int) -> str:
        """A shape of scalars and numbers, as exporters write it: Concat of Unsqueeze."""
        joined = [
            self.ints(part) if isinstance(part, int) else self.unsqueeze(part, 0) for part in parts
        ]
        return self.op("Concat", *joined, axis=0)

    def reshape(self, value: str, *parts: str | int) -> str:
        """Reshapes to scalars and numbers."""
        fixed = [part for part in parts if isinstance(part, int)]
        shape = self.ints(*fixed) if len(fixed) == len(parts) else self.sizes(*parts)
        return self.op("Reshape", value, shape)

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Adds dimensions of one element."""
        return self.op("Unsqueeze", value, self.ints(*axes))

    def transpose(self, value: str, *perm: int) -> str:
        """Transposes."""
        return self.op("Transpose", value, perm=list(perm))

    def slice(self, value: str, start: str | int, end: str | int, axis: int) -> str:
        """Slices one axis; bounds are numbers, or values of one dimension."""
        bounds = [self.ints(bound) if isinstance(bound, int) else bound for bound in (start, end)]
        return self.op("Slice", value, *bounds, self.ints(axis))

    def cast(self, value: str, dtype: npt.DTypeLike) -> str:
        """Casts."""
        return self.op("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def full(self, like: str, value: int) -> str:
        """A tensor of one 64-bit integer in another's shape."""
        filled = numpy_helper.from_array(np.array([value], np.int64))
        return self.op("ConstantOfShape", self.op("Shape", like), value=filled)

    def linear(self, value: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        """A dense layer of the last dimension: MatMul and, if asked for, Add."""
        result = self.op("MatMul", value, self.weight(inputs, outputs))
        if not bias:
            return result
        return self.op("Add", result, self.weight(outputs, scale=0.02, name="bias"))

    def model(self) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._weights.values())
        )
        opsets = [helper.make_opsetid("", self._opset)]
        domains = sorted({node.domain for node in self._nodes} - {""})
        opsets += [helper.make_opsetid(domain, 1) for domain in domains]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return model

    def _fresh(self, name: str) -> str:
        self._count += 1
        return f"{name}_{self._count}"
