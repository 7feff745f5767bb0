"""Small QDQ graphs of integers to integers, and what the NPU and ONNX Runtime make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import ShapeInferencePass

from ingot.runtime.npu.command_stream.accelerator import ACCELERATORS as SIMULATED
from ingot.runtime.npu.executor import make_executor
from ingot.runtime.npu.region import Region
from ingot.targets.npu.configuration import configure
from ingot.targets.npu.lowering import partition_graph

Array = np.ndarray[Any, Any]

_TO_NHWC = (0, 2, 3, 1)
_TO_NCHW = (0, 3, 1, 2)
_KINDS = {"int8": TensorProto.INT8, "int16": TensorProto.INT16}


class Graph:
    """A QDQ graph in the making: real values between integers.

    Attributes:
        integers: The dtype of activations.
    """

    def __init__(self, seed: int = 0, integers: str = "int8") -> None:
        self.random = np.random.default_rng(seed)
        self.integers = integers
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, shape: Sequence[int], scale: float = 0.05, zero_point: int = 0) -> str:
        """A real value behind an input of integers."""
        name = f"x{len(self._inputs)}"
        self._inputs.append(helper.make_tensor_value_info(name, _KINDS[self.integers], shape))
        return self.dequantized(name, scale, zero_point)

    def dequantized(self, integers: str, scale: float, zero_point: int) -> str:
        return self.op("DequantizeLinear", integers, *self._grid(scale, zero_point))

    def quantized(self, value: str, scale: float, zero_point: int = 0) -> str:
        return self.op("QuantizeLinear", value, *self._grid(scale, zero_point))

    def between(self, value: str, scale: float = 0.05, zero_point: int = 0) -> str:
        """A real value that was rounded to a grid."""
        return self.dequantized(self.quantized(value, scale, zero_point), scale, zero_point)

    def output(self, value: str, scale: float = 0.05, zero_point: int = 0) -> None:
        """Makes integers of a real value an output."""
        self.result(self.quantized(value, scale, zero_point), _KINDS[self.integers])

    def result(self, value: str, kind: int = TensorProto.FLOAT) -> None:
        self._outputs.append(helper.make_tensor_value_info(value, kind, None))

    def weights(self, *shape: int, axis: int = 0) -> str:
        """Random weights of int8 with a scale for each index of an axis."""
        integers = self.random.integers(-127, 128, shape).astype(np.int8)
        return self.scaled(integers, self.random.uniform(0.002, 0.01, shape[axis]), axis)

    def scaled(self, integers: Array, scales: Array, axis: int = 0) -> str:
        """Given weights of int8 with a scale for each index of an axis."""
        parts = (integers, scales.astype(np.float32), np.zeros(len(scales), np.int8))
        names = [self.constant(part) for part in parts]
        return self.op("DequantizeLinear", *names, axis=axis)

    def bias(self, count: int) -> str:
        return self.constant(self.random.normal(size=count).astype(np.float32))

    def constant(self, array: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = np.asarray(array)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds an operator and returns its result, or a list of several."""
        names = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, list(inputs), names, f"n{len(self._nodes)}", **attributes)
        )
        return names[0] if outputs == 1 else names

    def model(self) -> onnx.ModelProto:
        constants = [numpy_helper.from_array(a, name) for name, a in self._constants.items()]
        graph = helper.make_graph(self._nodes, "small", self._inputs, self._outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        model.ir_version = 10
        return model

    def random_inputs(self) -> list[Array]:
        """Inputs over the whole range of integers."""
        limits = np.iinfo(self.integers)
        return [
            self.random.integers(
                limits.min, limits.max + 1, [d.dim_value for d in info.type.tensor_type.shape.dim]
            ).astype(self.integers)
            for info in self._inputs
        ]

    def _grid(self, scale: float, zero_point: int) -> tuple[str, str]:
        zero = np.array(zero_point, self.integers)
        return self.constant(np.array(scale, np.float32)), self.constant(zero)


def ir_model(model: onnx.ModelProto) -> ir.Model:
    graph = ir.from_proto(model)
    ShapeInferencePass()(graph)
    return graph


def compiled(graph: Graph, accelerator: str = "ethos-u55-256") -> Region:
    """The only region of a graph, all of which the NPU computes."""
    parts = partition_graph(
        ir_model(graph.model()), configure(accelerator, None, None), sram=None, fallback=False
    )
    (region,) = parts.regions
    return region


def expected(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """What ONNX Runtime computes, in float between integers, nothing fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    return [np.asarray(a) for a in session.run(None, dict(zip(names, inputs, strict=True)))]


def executed(region: Region, inputs: Sequence[Array], kind: str = "reference") -> list[Array]:
    """What a region computes of inputs in ONNX's layout, in that layout."""
    moved = [array.transpose(_TO_NHWC) if array.ndim == 4 else array for array in inputs]
    outputs = make_executor(kind, region).run(moved)
    return [array.transpose(_TO_NCHW) if array.ndim == 4 else array for array in outputs]


def check_bits(graph: Graph, accelerator: str, model: Callable[..., Array]) -> None:
    """Checks that a graph's one output on the NPU is the model's, and the simulator's the same.

    Args:
        graph: The graph.
        accelerator: The NPU; the simulator is asked where it knows it.
        model: From the graph's inputs to the output, all in ONNX's layout.
    """
    inputs = graph.random_inputs()
    region = compiled(graph, accelerator)
    (found,) = executed(region, inputs)
    np.testing.assert_array_equal(found, model(*inputs), err_msg=f"model on {accelerator}")
    if accelerator in SIMULATED:
        (simulated,) = executed(region, inputs, "command-stream")
        np.testing.assert_array_equal(simulated, found, err_msg=f"simulator of {accelerator}")
