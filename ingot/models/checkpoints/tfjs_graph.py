"""Frozen TensorFlow graphs in TensorFlow.js form: the constants that each operation takes.

Freezing renames weights (``Func/StatefulPartitionedCall/input/_12``), while operations keep the
path of their layer. So weights are found by the operation that consumes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ModelError
from ingot.models.checkpoints.tfjs import read_model_json, read_weights

_CONVOLUTIONS = {"Conv2D", "_FusedConv2D"}
_DEPTHWISE = {"DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"}
_MATMULS = {"MatMul", "_FusedMatMul"}


def read_layers(
    model_json: bytes, read_shard: Callable[[str], bytes], name: str
) -> dict[str, tuple[npt.NDArray[Any], ...]]:
    """Reads kernel and bias of each convolution and matrix multiplication.

    Args:
        model_json: The model's ``model.json``.
        read_shard: Gives a shard's bytes by its path.
        name: What error messages call the model.

    Returns:
        By the operation's path, the kernel ([out, in / groups, h, w] or [out, in]) and then the
        further constants (the bias).

    Raises:
        ModelError: The model is damaged, or such an operation's kernel is not constant.
    """
    model = read_model_json(model_json, name)
    weights = read_weights(model, read_shard, name)
    layers: dict[str, tuple[npt.NDArray[Any], ...]] = {}
    for node in model["modelTopology"].get("node", ()):
        if node["op"] not in _CONVOLUTIONS | _DEPTHWISE | _MATMULS:
            continue
        operands = node["input"][1:]
        missing = [operand for operand in operands if operand not in weights]
        if missing or not operands:
            raise ModelError(f"{name}: the operand {missing} of {node['name']!r} is no constant")
        kernel, *rest = (weights[operand] for operand in operands)
        layers[node["name"]] = (_kernel(node["op"], kernel), *rest)
    return layers


def _kernel(op: str, kernel: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if op in _MATMULS:
        return np.ascontiguousarray(kernel.T)
    if op in _DEPTHWISE:  # [h, w, channels, multiplier]: one group per channel
        height, width, channels, multiplier = kernel.shape
        moved = kernel.transpose(2, 3, 0, 1)
        return np.ascontiguousarray(moved).reshape(channels * multiplier, 1, height, width)
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
