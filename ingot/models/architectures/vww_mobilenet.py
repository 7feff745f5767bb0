"""MobileNet of MLPerf Tiny (arXiv:2106.07597): visual wake words, is there a person.

MobileNet v1 (Howard et al. 2017, arXiv:1704.04861) at width 0.25.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.models.architectures.keras_layers import KerasGraph, numbered, reduced
from ingot.models.architectures.layers import Weights

_SIZE = (96, 96)
# Strides of the depthwise convolutions, table 1 of the paper.
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def build(weights: Weights) -> ir.Model:
    """Builds the network.

    The softmax of Keras's model is left out: it changes no ranking, and logits show differences.

    Args:
        weights: By Keras's layers (``conv2d.weight``, ``depthwise_conv2d.weight``, ...).

    Returns:
        A model from ``input``, float32 [N, 3, 96, 96], pixels of 0 to 1, to ``logits``, float32
        [N, 2].
    """
    graph = KerasGraph("vww_mobilenet", weights)
    x = graph.input("input", ir.DataType.FLOAT, ("N", 3, *_SIZE))
    count = 0

    def finished(y: ir.Value) -> ir.Value:
        nonlocal count
        y = graph.normalized(y, numbered("batch_normalization", count))
        y = graph.op("Relu", [y], numbered("activation", count))
        count += 1
        return y

    x = finished(graph.same_conv(x, "conv2d", _SIZE, stride=2))
    size = reduced(_SIZE, 2)
    for index, stride in enumerate(_STRIDES):
        name = numbered("depthwise_conv2d", index)
        x = finished(graph.same_conv(x, name, size, stride=stride, depthwise=True))
        size = reduced(size, stride)
        x = finished(graph.same_conv(x, numbered("conv2d", index + 1), size))
    x = graph.op("GlobalAveragePool", [x], "average_pooling2d")
    x = graph.op("Flatten", [x], "flatten", axis=1)
    return graph.finish(graph.linear(x, "dense"), "logits", ("N", 2))
