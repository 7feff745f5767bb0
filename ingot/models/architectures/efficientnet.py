"""EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) and EfficientNet-Lite0.

Lite0 is B0 without squeeze-and-excitation and with ReLU6 for SiLU, so that it quantizes well.
Both were trained with TensorFlow's SAME padding, which at stride 2 puts the odd pixel after the
image, not before it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.errors import ModelError
from ingot.models.architectures.layers import LayerGraph, Weights

# Table 1 of the paper: expansion, kernel, stride of the first repeat, channels, repeats.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_EPSILON = 1e-3

_LITE0_LAYERS = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.bn",
    "_conv_head": "head.conv",
    "_bn1": "head.bn",
    "_fc": "classifier",
}
_LITE0_BLOCK_LAYERS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.bn",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.bn",
    "_project_conv": "project.conv",
    "_bn2": "project.bn",
}
_B0_LAYERS = {
    "stem_bn/FusedBatchNormV3": "stem.conv",
    "top_bn/FusedBatchNormV3": "head.conv",
    "logits/BiasAdd": "classifier",
}
_B0_BLOCK_LAYERS = {
    "expand_bn/FusedBatchNormV3": "expand.conv",
    "depthwise_conv2d/depthwise": "depthwise.conv",
    "se_reduce_conv2d/BiasAdd": "se.reduce",
    "se_expand_conv2d/BiasAdd": "se.expand",
    "project_bn/FusedBatchNormV3": "project.conv",
}


def build_b0(weights: Weights) -> ir.Model:
    """Builds EfficientNet-B0 with its batch norms already folded, as the frozen graph has it.

    The softmax and the normalization of the published graph are left out: the one changes no
    ranking, the other is the preprocessing's.

    Args:
        weights: From ``b0_weights``.

    Returns:
        A model from ``input``, float32 [N, 3, 224, 224], to ``logits``, float32 [N, 1000].
    """
    return _build("efficientnet_b0", weights, lite=False)


def build_lite0(weights: Weights) -> ir.Model:
    """Builds EfficientNet-Lite0 with its batch norms.

    Args:
        weights: From ``lite0_weights``.

    Returns:
        A model from ``input``, float32 [N, 3, 224, 224], to ``logits``, float32 [N, 1000].
    """
    return _build("efficientnet_lite0", weights, lite=True)


def lite0_weights(state: Weights) -> Weights:
    """Renames a PyTorch checkpoint's weights (``_blocks.3._bn1.bias``) to this module's layers."""
    renamed = {}
    for key, array in state.items():
        layer, _, parameter = key.rpartition(".")
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
        if block and block[2] in _LITE0_BLOCK_LAYERS:
            name = f"blocks.{block[1]}.{_LITE0_BLOCK_LAYERS[block[2]]}"
        elif layer in _LITE0_LAYERS:
            name = _LITE0_LAYERS[layer]
        else:
            raise ModelError(f"the checkpoint's weight {key!r} is none of EfficientNet-Lite0's")
        renamed[f"{name}.{parameter}"] = array
    return renamed


def b0_weights(layers: dict[str, tuple[npt.NDArray[Any], ...]]) -> Weights:
    """Renames a frozen graph's kernels and biases, by operation, to this module's layers."""
    first_block = np.cumsum([0, *(repeats for *_, repeats in _STAGES)])
    renamed = {}
    for path, parameters in layers.items():
        layer = path.partition("/model/")[2]
        block = re.fullmatch(r"stack_(\d+)/block_(\d+)/(.+)", layer)
        if block and block[3] in _B0_BLOCK_LAYERS and int(block[1]) < len(_STAGES):
            index = first_block[int(block[1])] + int(block[2])
            name = f"blocks.{index}.{_B0_BLOCK_LAYERS[block[3]]}"
        elif layer in _B0_LAYERS:
            name = _B0_LAYERS[layer]
        else:
            raise ModelError(f"the graph's operation {path!r} is none of EfficientNet-B0's")
        if len(parameters) != 2:
            raise ModelError(f"the graph's operation {path!r} has no kernel and bias")
        renamed[f"{name}.weight"], renamed[f"{name}.bias"] = parameters
    return renamed


def _build(name: str, weights: Weights, *, lite: bool) -> ir.Model:
    graph = LayerGraph(name, weights)
    x = graph.input("input", ir.DataType.FLOAT, ("N", 3, 224, 224))
    x = _activated(graph, x, "stem", lite, kernel=3, stride=2)
    index, channels = 0, 32
    for expansion, kernel, first_stride, out_channels, repeats in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            block = f"blocks.{index}"
            y = x if expansion == 1 else _activated(graph, x, f"{block}.expand", lite)
            y = _activated(
                graph,
                y,
                f"{block}.depthwise",
                lite,
                kernel=kernel,
                stride=stride,
                groups=channels * expansion,
            )
            if not lite:
                y = _squeeze_excite(graph, y, f"{block}.se")
            y = _conv_bn(graph, y, f"{block}.project", lite)
            residual = stride == 1 and channels == out_channels
            x = graph.op("Add", [y, x], f"{block}.add") if residual else y
            index, channels = index + 1, out_channels
    x = _activated(graph, x, "head", lite)
    x = graph.op("GlobalAveragePool", [x], "avgpool")
    x = graph.op("Flatten", [x], "flatten", axis=1)
    x = graph.linear(x, "classifier")
    return graph.finish(x, "logits", ("N", 1000))


def _conv_bn(
    graph: LayerGraph,
    x: ir.Value,
    name: str,
    lite: bool,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> ir.Value:
    # SAME padding of an even-sized image: (kernel - stride) pixels, the odd one at the end.
    total = kernel - stride
    pads = (total // 2, total - total // 2)
    x = graph.conv(x, f"{name}.conv", stride=stride, pads=pads, groups=groups, bias=not lite)
    return graph.batch_norm(x, f"{name}.bn", epsilon=_EPSILON) if lite else x


def _activated(
    graph: LayerGraph,
    x: ir.Value,
    name: str,
    lite: bool,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> ir.Value:
    x = _conv_bn(graph, x, name, lite, kernel=kernel, stride=stride, groups=groups)
    return graph.relu6(x, f"{name}.relu6") if lite else graph.silu(x, f"{name}.silu")


def _squeeze_excite(graph: LayerGraph, x: ir.Value, name: str) -> ir.Value:
    """Scales each channel by a gate computed of all channels' means (arXiv:1709.01507)."""
    gate = graph.op("GlobalAveragePool", [x], f"{name}.squeeze")
    gate = graph.conv(gate, f"{name}.reduce", bias=True)
    gate = graph.silu(gate, f"{name}.silu")
    gate = graph.conv(gate, f"{name}.expand", bias=True)
    gate = graph.op("Sigmoid", [gate], f"{name}.sigmoid")
    return graph.op("Mul", [x, gate], f"{name}.scale")
