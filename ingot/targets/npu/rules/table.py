"""Functions of one tensor, element by element: TABLE.

Exactness, 8 bits. There are 256 inputs. ONNX Runtime computes the graph's own float operators, from
DequantizeLinear to QuantizeLinear, on all of them once, and TABLE looks the result up: whatever the
function is (sigmoid, tanh, hard-swish, GELU written out, a product of x and a function of x), the
result is that of the QDQ graph, bit for bit. A Relu or Clip behind is in the table as well.

16 bits. TABLE holds the function at each 128th input and interpolates with 7 bits, which RESCALE
drops with one rounding. What remains is the error of interpolation, ``128 ** 2 / 8`` times the
function's second derivative in units of the grids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from ingot.targets.npu.cone import Cone, Source, Unfit, constant, is_dequantize
from ingot.targets.npu.rules.base import Layer, OneSourceLayer, Rule
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

Array = npt.NDArray[Any]

_POINTWISE = frozenset({
    "Abs", "Add", "Cast", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "PRelu",
    "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub",
    "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip
_STEP = 128
_FRACTION = 1.0 / _STEP


@dataclasses.dataclass(frozen=True)
class Table(OneSourceLayer):
    """A function by its values.

    Attributes:
        table: 256 entries of int8, or 513 of int16.
    """

    table: Array

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the look-up."""
        found = graph.table(inputs[0], self.table)
        return graph.rescale(found, _FRACTION, 0, 0, "int16") if found.dtype == "int32" else found


class TableRule(Rule):
    """Any composition of element-wise operators that reads one tensor."""

    name: ClassVar[str] = "table"

    def match(self, cone: Cone) -> Layer:
        """Evaluates a function on all of its arguments."""
        grid = cone.require_grid()
        sources = cone.sources
        if len(sources) != 1 or not cone.body:
            raise Unfit("not a function of one tensor")
        for node in cone.nodes:
            if node.domain != "" or node.op_type not in _POINTWISE:
                raise Unfit(f"{node.op_type} is not element by element")
            constants = [constant(value) for value in node.inputs if value is not None]
            if any(array is not None and array.size != 1 for array in constants):
                raise Unfit("not one function for all elements")
        (source,) = sources
        if source.grid.dtype != grid.dtype:
            raise Unfit("it changes the width of integers")
        limits = np.iinfo(grid.dtype)
        arguments = np.arange(limits.min, limits.max + 1, dtype=np.int32)
        if grid.dtype == "int16":
            # The last entry is only interpolated towards, and lies one beyond the largest integer.
            arguments = np.minimum(np.append(arguments[::_STEP], limits.max), limits.max)
        return Table(source, _evaluated(cone, source, arguments.astype(grid.dtype)))


def _evaluated(cone: Cone, source: Source, arguments: Array) -> Array:
    """Runs the cone's operators in ONNX Runtime."""
    nodes = [node for node in cone.all_nodes if not _is_constant(node)]
    initializers = {
        str(value.name): ir.serde.serialize_tensor(value.const_value)
        for node in nodes
        for value in node.inputs
        if value is not None and value.const_value is not None
    }
    for name, tensor in initializers.items():
        tensor.name = name
    kind = onnx.helper.np_dtype_to_tensor_dtype(arguments.dtype)
    info = [
        onnx.helper.make_tensor_value_info(str(value.name), kind, None)
        for value in (source.integers, cone.output)
    ]
    info[0] = onnx.helper.make_tensor_value_info(str(source.integers.name), kind, arguments.shape)
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node) for node in nodes],
        "table", [info[0]], [info[1]], list(initializers.values()),
    )  # fmt: skip
    owner = nodes[0].graph
    assert isinstance(owner, ir.Graph)
    opsets = [
        onnx.helper.make_opsetid(key, version) for key, version in owner.opset_imports.items()
    ]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    model.ir_version = min(model.ir_version, 10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {str(source.integers.name): arguments})
    return np.asarray(result)


def _is_constant(node: ir.Node) -> bool:
    return node.op_type == "Constant" or (
        is_dequantize(node) and constant(node.inputs[0]) is not None
    )
