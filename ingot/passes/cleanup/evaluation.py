"""Running one operator on known inputs, by ONNX Runtime.

The runtime that checks the passes also folds: a constant then holds just what the reference would
have computed. onnx's own reference implementation differs from it in rounding, and is slower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from ingot.errors import first_line
from ingot.passes.cleanup.constants import Array

# Constants up to this many elements are given to shape inference by value: it needs the elements
# of shapes, axes and repeats only.
_KNOWN_ELEMENTS = 1024


class CannotEvaluate(Exception):  # noqa: N818 - it ends an attempt, it is no error
    """ONNX Runtime has no kernel for the operator, or refuses its inputs."""


class Evaluation:
    """One node on constant inputs.

    Args:
        node: The node; without subgraphs. Not changed.
        opset: The version of ONNX's operator set.
        operands: A tensor for each input, None for one that is left out.

    Raises:
        CannotEvaluate: An operand's type is unknown to NumPy, or shape inference fails.
    """

    def __init__(
        self, node: ir.Node, opset: int, operands: Sequence[ir.TensorProtocol | None]
    ) -> None:
        self._feeds: dict[str, Array] = {}
        initializers: list[ir.Value] = []
        inputs: list[ir.Value] = []
        values: list[ir.Value | None] = []
        for position, tensor in enumerate(operands):
            if tensor is None:
                values.append(None)
                continue
            value = _operand_value(f"input_{position}", tensor)
            values.append(value)
            if tensor.size <= _KNOWN_ELEMENTS:
                value.const_value = tensor
                initializers.append(value)
            else:
                inputs.append(value)
                self._feeds[f"input_{position}"] = tensor.numpy()
        outputs = [
            ir.Value(name="" if value.name == "" else f"output_{position}")
            for position, value in enumerate(node.outputs)
        ]
        attributes = list(node.attributes.values())
        alone = ir.Node(node.domain, node.op_type, values, attributes, outputs=outputs)
        self._names = [str(value.name) for value in outputs]
        graph = ir.Graph(
            inputs,
            [value for value in outputs if value.name],
            nodes=[alone],
            initializers=initializers,
            opset_imports={"": opset},
            name="evaluation",
        )
        proto = ir.to_proto(_in_memory(ir.Model(graph, ir_version=10)))
        try:
            # Not with data_prop, which would make a Range of any length at once.
            self._model = onnx.shape_inference.infer_shapes(proto)
        except (onnx.shape_inference.InferenceError, ValueError, MemoryError) as error:
            raise CannotEvaluate(first_line(error)) from error

    def result_bytes(self) -> int | None:
        """The size of all results as far as shape inference tells it, or None."""
        total = 0
        for output in self._model.graph.output:
            tensor = output.type.tensor_type
            dims = [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
            if not tensor.HasField("shape") or len(dims) != len(tensor.shape.dim):
                return None
            itemsize: float = ir.DataType(tensor.elem_type).itemsize
            total += math.ceil(math.prod(dims) * itemsize)
        return total

    def run(self) -> list[Array | None]:
        """Computes the outputs; None for one that the node leaves out.

        Raises:
            CannotEvaluate: ONNX Runtime refuses the operator or its inputs, or the result is no
                tensor.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 4  # a refusal is raised, and here it is no error
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1  # starting threads costs more than most folding
        try:
            session = ort.InferenceSession(
                self._model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            names = [name for name in self._names if name]
            results = dict(zip(names, session.run(names, self._feeds), strict=True))
        except Exception as error:
            raise CannotEvaluate(first_line(error)) from error
        if not all(isinstance(value, np.ndarray) for value in results.values()):
            raise CannotEvaluate("its result is no tensor")
        return [results.get(name) for name in self._names]


def _operand_value(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    if tensor.dtype == ir.DataType.STRING or tensor.dtype.numpy().kind not in "biufc":
        raise CannotEvaluate(f"constants of type {tensor.dtype} are not folded")
    shape = ir.Shape([int(size) for size in tensor.shape.numpy()])
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape)


def _in_memory(model: ir.Model) -> ir.Model:
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    return model
