"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), with torchvision's layer names."""

from __future__ import annotations

import onnx_ir as ir

from ingot.models.architectures.layers import LayerGraph, Weights

# Table 2 of the paper: expansion, channels, repeats, stride of the first repeat.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(weights: Weights) -> ir.Model:
    """Builds the network at width 1.0.

    Args:
        weights: By torchvision's names (``features.0.0.weight``, ...).

    Returns:
        A model from ``input``, float32 [N, 3, 224, 224], to ``logits``, float32 [N, 1000].
    """
    graph = LayerGraph("mobilenetv2", weights)
    x = graph.input("input", ir.DataType.FLOAT, ("N", 3, 224, 224))
    x = _conv_bn_relu6(graph, x, "features.0", stride=2, padding=1)
    index, channels = 1, 32
    for expansion, out_channels, repeats, first_stride in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            block = _inverted_residual(graph, x, f"features.{index}", channels, expansion, stride)
            residual = stride == 1 and channels == out_channels
            x = graph.op("Add", [x, block], f"features.{index}.add") if residual else block
            index, channels = index + 1, out_channels
    x = _conv_bn_relu6(graph, x, f"features.{index}")
    x = graph.op("GlobalAveragePool", [x], "avgpool")
    x = graph.op("Flatten", [x], "flatten", axis=1)
    x = graph.linear(x, "classifier.1")
    return graph.finish(x, "logits", ("N", 1000))


def _inverted_residual(
    graph: LayerGraph, x: ir.Value, name: str, channels: int, expansion: int, stride: int
) -> ir.Value:
    hidden = channels * expansion
    layer = 0
    if expansion != 1:
        x = _conv_bn_relu6(graph, x, f"{name}.conv.0")
        layer = 1
    x = _conv_bn_relu6(graph, x, f"{name}.conv.{layer}", stride=stride, padding=1, groups=hidden)
    x = graph.conv(x, f"{name}.conv.{layer + 1}")
    return graph.batch_norm(x, f"{name}.conv.{layer + 2}")


def _conv_bn_relu6(
    graph: LayerGraph,
    x: ir.Value,
    name: str,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> ir.Value:
    x = graph.conv(x, f"{name}.0", stride=stride, pads=(padding, padding), groups=groups)
    x = graph.batch_norm(x, f"{name}.1")
    return graph.relu6(x, f"{name}.2")
