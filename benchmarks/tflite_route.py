"""Arm's own route to an Ethos-U: an INT8 TensorFlow Lite model through Vela.

The model's arithmetic is run by TensorFlow Lite (package ai-edge-litert), the kernels of which are
what Arm's own tests compare the NPU with.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ingot.runtime.npu.region import Configuration, Estimate
from ingot.targets.npu.vela import compile_graph

Array = npt.NDArray[Any]

_SOFTMAX = schema.BuiltinOperator.SOFTMAX
# Keras's default names of layers, by the operator that TensorFlow Lite makes of one.
_LAYERS = {
    schema.BuiltinOperator.ADD: "add",
    schema.BuiltinOperator.AVERAGE_POOL_2D: "average_pooling2d",
    schema.BuiltinOperator.CONV_2D: "conv2d",
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: "depthwise_conv2d",
    schema.BuiltinOperator.FULLY_CONNECTED: "dense",
}


class TfliteModel:
    """An INT8 TensorFlow Lite model of one input and one output.

    Attributes:
        has_softmax: Whether the published model ends in a softmax.
    """

    def __init__(self, path: Path) -> None:
        """Reads a model."""
        self._model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self._graph = self._model.subgraphs[0]
        self._model.signatureDefs = []
        for tensor in self._graph.tensors:
            # The batch is open in some of the files, and 1 on the NPU.
            tensor.shapeSignature = None
        self.has_softmax = self._kind(self._graph.operators[-1]) == _SOFTMAX

    def without_softmax(self) -> TfliteModel:
        """The same model with logits as its output."""
        other = TfliteModel.__new__(TfliteModel)
        other._model = schema.ModelT.InitFromPackedBuf(self._packed(), 0)
        other._graph = other._model.subgraphs[0]
        other.has_softmax = False
        if self.has_softmax:
            last = other._graph.operators.pop()
            other._graph.outputs = [last.inputs[0]]
        return other

    def estimate(self, configuration: Configuration) -> Estimate:
        """What Vela estimates of the model's cost."""
        return compile_graph(self._packed(), configuration, form="TFLITE").estimate

    def layer_names(self) -> dict[str, str]:
        """Keras's names of the layers, by the tensor that a layer computes."""
        names: dict[str, str] = {}
        count: Counter[str] = Counter()
        for operator in self._graph.operators:
            kind = _LAYERS.get(self._kind(operator))
            if kind is not None:
                name = f"{kind}_{count[kind]}" if count[kind] else kind
                count[kind] += 1
                names[self._graph.tensors[operator.outputs[0]].name.decode()] = name
        return names

    def run(self, inputs: list[Array]) -> Array:
        """Computes what int8 integers give of real inputs in ONNX's layout, as real numbers."""
        interpreter = Interpreter(model_content=self._packed())
        interpreter.allocate_tensors()
        (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        outputs = []
        for array in inputs:
            nhwc = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
            scale, zero = source["quantization"]
            integers = np.clip(np.rint(nhwc / np.float32(scale)) + zero, -128, 127).astype(np.int8)
            interpreter.set_tensor(source["index"], integers)
            interpreter.invoke()
            scale, zero = result["quantization"]
            found = interpreter.get_tensor(result["index"]).astype(np.float32)
            outputs.append((found - zero) * np.float32(scale))
        return np.concatenate(outputs)

    def input_range(self) -> tuple[float, float]:
        """The real numbers that the input's integers reach."""
        grid = self._graph.tensors[self._graph.inputs[0]].quantization
        scale, zero = float(grid.scale[0]), int(grid.zeroPoint[0])
        return (-128 - zero) * scale, (127 - zero) * scale

    def _kind(self, operator: Any) -> int:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))

    def _packed(self) -> bytes:
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
