"""Autoencoder of MLPerf Tiny (arXiv:2106.07597): anomalies in the sound of machines.

The baseline of DCASE 2020's task 2 (Koizumi et al. 2020, arXiv:2006.05822).
"""

from __future__ import annotations

import onnx_ir as ir

from ingot.models.architectures.keras_layers import KerasGraph, numbered
from ingot.models.architectures.layers import Weights

# Five frames of 128 mel bands.
_FEATURES = 640
_LAYERS = 10


def build(weights: Weights) -> ir.Model:
    """Builds the network.

    Args:
        weights: By Keras's layers (``dense.weight``, ...).

    Returns:
        A model from ``input``, float32 [N, 640], logarithmic mel energies, to ``output``, the same
        reconstructed.
    """
    graph = KerasGraph("autoencoder", weights)
    x = graph.input("input", ir.DataType.FLOAT, ("N", _FEATURES))
    for index in range(_LAYERS):
        x = graph.linear(x, numbered("dense", index))
        if index + 1 < _LAYERS:
            x = graph.normalized(x, numbered("batch_normalization", index))
            x = graph.op("Relu", [x], numbered("activation", index))
    return graph.finish(x, "output", ("N", _FEATURES))
