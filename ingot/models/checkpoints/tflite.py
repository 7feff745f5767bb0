"""TensorFlow Lite models of float activations, as weights in PyTorch's conventions.

Weights may be stored in int8 ("dynamic range quantization"); they come as what they stand for. A
converted model has its batch norms folded into the layers before them, and of the layers' names
only traces. Layers get the names that Keras gives by default, by kind and in order: ``conv2d``,
``conv2d_1``, ``depthwise_conv2d``, ``dense`` and so on.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ModelError
from ingot.models.checkpoints.extra import require_extra

Array = npt.NDArray[Any]

# Builtin operators by the numbers of TensorFlow Lite's schema (schema.fbs).
_LAYERS = {3: "conv2d", 4: "depthwise_conv2d", 9: "dense"}
_FLOAT32, _INT8 = 0, 9


def read_tflite(data: bytes, name: str) -> dict[str, Array]:
    """Reads the weights of convolutions and fully connected layers.

    Args:
        data: The file's bytes.
        name: What error messages call the model.

    Returns:
        Arrays by ``<layer>.weight`` and ``<layer>.bias``: kernels [out, in / groups, h, w] and
        [out, in].

    Raises:
        ModelError: It is no TensorFlow Lite model, is damaged, or has quantized activations.
        IngotError: The package tflite is not installed.
    """
    require_extra("tflite", name)
    import tflite

    if not tflite.Model.ModelBufferHasIdentifier(data, 0):
        raise ModelError(f"{name} is no TensorFlow Lite model, or is damaged")
    try:
        return _weights(tflite.Model.GetRootAsModel(data, 0), name)
    except (struct.error, ValueError, IndexError, AttributeError, TypeError) as error:
        # What the generated readers raise where an offset points out of the file.
        raise ModelError(f"{name} is damaged: {error}") from error


def _weights(model: Any, name: str) -> dict[str, Array]:
    graph = model.Subgraphs(0)
    weights: dict[str, Array] = {}
    count: Counter[str] = Counter()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = _LAYERS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
        if kind is None:
            continue
        layer = f"{kind}_{count[kind]}" if count[kind] else kind
        count[kind] += 1
        operands = [
            _constant(model, graph.Tensors(operator.Inputs(operand)), f"{name}: {layer}")
            for operand in range(1, operator.InputsLength())
        ]
        weights[f"{layer}.weight"] = _pytorch_layout(operands[0], kind)
        if len(operands) > 1:
            weights[f"{layer}.bias"] = operands[1]
    return weights


def _constant(model: Any, tensor: Any, where: str) -> Array:
    content = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
    shape = tensor.ShapeAsNumpy()
    if tensor.Type() == _FLOAT32:
        return np.array(np.frombuffer(content, np.float32).reshape(shape))
    if tensor.Type() != _INT8:
        raise ModelError(f"{where} is quantized: give the model of float activations")
    grid = tensor.Quantization()
    along = [1] * len(shape)
    along[grid.QuantizedDimension()] = -1
    integers = np.frombuffer(content, np.int8).reshape(shape).astype(np.float32)
    zeros = np.asarray(grid.ZeroPointAsNumpy(), np.float32).reshape(along)
    return np.asarray((integers - zeros) * grid.ScaleAsNumpy().reshape(along))


def _pytorch_layout(array: Array, kind: str) -> Array:
    if kind == "conv2d":  # OHWI
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    if kind == "depthwise_conv2d":  # 1HWO
        return np.ascontiguousarray(array.transpose(3, 0, 1, 2))
    return array
