"""ResNet-50 v1 (He et al. 2015, arXiv:1512.03385), with Keras's layer names.

As in the paper, a stage's stride lies in the first 1x1 convolution (not in the 3x3 one, which is
called v1.5); as in Keras, convolutions have a bias although a batch norm follows.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.models.architectures.layers import LayerGraph, Weights

# Stage number and its bottlenecks.
_STAGES = ((2, 3), (3, 4), (4, 6), (5, 3))
_EPSILON = 1e-3  # Keras's default


def build(weights: Weights) -> ir.Model:
    """Builds the network.

    The softmax of Keras's model is left out: it changes no ranking, and logits show differences.

    Args:
        weights: By Keras's layers (``res2a_branch2a.weight``, ``bn2a_branch2a.weight``, ...).

    Returns:
        A model from ``input``, float32 [N, 3, 224, 224], to ``logits``, float32 [N, 1000].
    """
    graph = LayerGraph("resnet50", weights)
    x = graph.input("input", ir.DataType.FLOAT, ("N", 3, 224, 224))
    x = graph.conv(x, "conv1", stride=2, pads=(3, 3), bias=True)
    x = graph.batch_norm(x, "bn_conv1", epsilon=_EPSILON)
    x = graph.op("Relu", [x], "relu_conv1")
    x = graph.op("MaxPool", [x], "pool1", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, blocks in _STAGES:
        for index, letter in enumerate("abcdef"[:blocks]):
            stride = 2 if stage > 2 and index == 0 else 1
            x = _bottleneck(graph, x, f"{stage}{letter}", stride, project=index == 0)
    x = graph.op("GlobalAveragePool", [x], "avg_pool")
    x = graph.op("Flatten", [x], "flatten", axis=1)
    x = graph.linear(x, "fc1000")
    return graph.finish(x, "logits", ("N", 1000))


def _bottleneck(
    graph: LayerGraph, x: ir.Value, name: str, stride: int, *, project: bool
) -> ir.Value:
    def conv_bn(value: ir.Value, branch: str, stride: int = 1, padding: int = 0) -> ir.Value:
        layer = f"{name}_branch{branch}"
        value = graph.conv(value, f"res{layer}", stride=stride, pads=(padding, padding), bias=True)
        return graph.batch_norm(value, f"bn{layer}", epsilon=_EPSILON)

    y = graph.op("Relu", [conv_bn(x, "2a", stride)], f"relu{name}_branch2a")
    y = graph.op("Relu", [conv_bn(y, "2b", padding=1)], f"relu{name}_branch2b")
    y = conv_bn(y, "2c")
    shortcut = conv_bn(x, "1", stride) if project else x
    return graph.op("Relu", [graph.op("Add", [y, shortcut], f"add{name}")], f"relu{name}")
