"""ResNet-8 of MLPerf Tiny (arXiv:2106.07597), image classification on CIFAR-10.

A ResNet of He et al. 2015 (arXiv:1512.03385) with one stack of two convolutions for each of three
widths; the projection of a shortcut has no batch norm.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.models.architectures.keras_layers import KerasGraph, numbered, reduced
from ingot.models.architectures.layers import Weights

_SIZE = (32, 32)
# Stride of each stack; one that keeps the size has a plain shortcut.
_STACKS = (1, 2, 2)


def build(weights: Weights) -> ir.Model:
    """Builds the network.

    The softmax of Keras's model is left out: it changes no ranking, and logits show differences.

    Args:
        weights: By Keras's layers (``conv2d.weight``, ``batch_normalization.weight``, ...).

    Returns:
        A model from ``input``, float32 [N, 3, 32, 32], pixels of 0 to 255, to ``logits``, float32
        [N, 10].
    """
    graph = KerasGraph("resnet8", weights)
    x = graph.input("input", ir.DataType.FLOAT, ("N", 3, *_SIZE))
    x = graph.same_conv(x, "conv2d", _SIZE)
    x = graph.op("Relu", [graph.normalized(x, "batch_normalization")], "activation")
    size, conv, norm = _SIZE, 1, 1
    for index, stride in enumerate(_STACKS):
        y = graph.same_conv(x, numbered("conv2d", conv), size, stride=stride)
        y = graph.normalized(y, numbered("batch_normalization", norm))
        y = graph.op("Relu", [y], numbered("activation", 2 * index + 1))
        shrunk = reduced(size, stride)
        y = graph.same_conv(y, numbered("conv2d", conv + 1), shrunk)
        y = graph.normalized(y, numbered("batch_normalization", norm + 1))
        conv, norm = conv + 2, norm + 2
        if stride > 1:
            x = graph.same_conv(x, numbered("conv2d", conv), size, stride=stride)
            conv += 1
        x = graph.op("Add", [x, y], numbered("add", index))
        x = graph.op("Relu", [x], numbered("activation", 2 * index + 2))
        size = shrunk
    x = graph.op("GlobalAveragePool", [x], "average_pooling2d")
    x = graph.op("Flatten", [x], "flatten", axis=1)
    return graph.finish(graph.linear(x, "dense"), "logits", ("N", 10))
