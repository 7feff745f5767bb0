"""DS-CNN of MLPerf Tiny (arXiv:2106.07597): spotting twelve keywords.

The depthwise separable network of Zhang et al. 2017 (arXiv:1711.07128), size S.
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.models.architectures.keras_layers import KerasGraph, numbered, reduced
from ingot.models.architectures.layers import Weights

_FRAMES, _COEFFICIENTS = 49, 10
_BLOCKS = 4


def build(weights: Weights) -> ir.Model:
    """Builds the network.

    The softmax of Keras's model is left out: it changes no ranking, and logits show differences.

    Args:
        weights: By Keras's layers (``conv2d.weight``, ``depthwise_conv2d.weight``, ...).

    Returns:
        A model from ``input``, float32 [N, 1, 49, 10], ten cepstral coefficients of 49 frames, to
        ``logits``, float32 [N, 12].
    """
    graph = KerasGraph("ds_cnn", weights)
    size = (_FRAMES, _COEFFICIENTS)
    x = graph.input("input", ir.DataType.FLOAT, ("N", 1, *size))
    x = graph.same_conv(x, "conv2d", size, stride=2)
    x = graph.op("Relu", [graph.normalized(x, "batch_normalization")], "activation")
    size = reduced(size, 2)
    for index in range(_BLOCKS):
        layers = (
            (numbered("depthwise_conv2d", index), True, 2 * index + 1),
            (numbered("conv2d", index + 1), False, 2 * index + 2),
        )
        for name, depthwise, count in layers:
            x = graph.same_conv(x, name, size, depthwise=depthwise)
            x = graph.normalized(x, numbered("batch_normalization", count))
            x = graph.op("Relu", [x], numbered("activation", count))
    x = graph.op("GlobalAveragePool", [x], "average_pooling2d")
    x = graph.op("Flatten", [x], "flatten", axis=1)
    return graph.finish(graph.linear(x, "dense"), "logits", ("N", 12))
