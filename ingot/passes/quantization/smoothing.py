"""SmoothQuant: outlier channels of a transformer's activations, moved into the weights.

Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models" (ICML 2023). The factors go into the scale of the layer normalization before, where all that
reads it are matrix products; else into a multiplication by a constant vector in front of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.arithmetic import FLOAT_EPILOGUES, Treatment
from ingot.calibration.statistics import TensorStatistics
from ingot.onnx_graph.edits import Names
from ingot.onnx_graph.matching import constant, rank
from ingot.passes.base import FLOAT_ROUNDING, PassOptions, PassOutcome, Tolerance
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.channel_factors import Reader, best_factors
from ingot.passes.quantization.linear import LinearLayer, linear_layer
from ingot.passes.quantization.placement import place
from ingot.passes.quantization.scaling import insert_product, replace_constant, scale_inputs

Wide = npt.NDArray[np.float64]

_NORMS = frozenset({"LayerNormalization", "RMSNormalization"})


class SmoothOptions(PassOptions):
    """Options of ``quantization.smoothing``."""

    weight_noise: float = pydantic.Field(
        default=0.5,
        ge=0.0,
        description="part of the weights' rounding noise that learned rounding leaves",
    )
    insert: bool = pydantic.Field(
        default=True, description="also where no layer normalization takes the factors"
    )


class Smooth(CalibratedPass[SmoothOptions]):
    """Ranges of the channels that matrix products read, balanced with those of their weights."""

    name: ClassVar[str] = "quantization.smoothing"
    summary: ClassVar[str] = "Move outlier channels of matrix products into their weights."
    options_type: ClassVar[type[PassOptions]] = SmoothOptions
    tolerance: ClassVar[Tolerance] = FLOAT_ROUNDING

    def call(self, model: ir.Model) -> PassOutcome:
        """Smooths the main graph."""
        placement = place(model.graph, FLOAT_EPILOGUES)
        quantized = {
            value: _products(value)
            for value in placement.values
            if rank(value) in (2, 3) and not _is_pooled(value)
        }
        places = {value: layers for value, layers in quantized.items() if layers}
        if not places:
            return PassOutcome(model, False, 0)
        tensors = [str(value.name) for value in places]
        statistics = self.calibration.statistics(model, tensors, histograms=False)
        names = Names(model)
        applied = 0
        for value, layers in places.items():
            if not self.options.insert and not _can_absorb(value, layers):
                continue
            factors = _factors(value, layers, statistics, self.options.weight_noise)
            if factors is not None:
                _apply(model.graph, value, layers, factors, names)
                applied += 1
        return PassOutcome(model, applied > 0, applied)


def _is_pooled(value: ir.Value) -> bool:
    """Whether a value is an input, or a pooled image: that is equalized along with the image."""
    node = value.producer()
    while node is not None and FLOAT_EPILOGUES.treatment(node.op_type) is Treatment.SAME_GRID:
        source = node.inputs[0]
        node = None if source is None else source.producer()
    return node is None or FLOAT_EPILOGUES.treatment(node.op_type) is Treatment.OWN_GRID


def _products(value: ir.Value) -> list[LinearLayer]:
    """The matrix products with constant weights that read a value's last axis."""
    layers = [linear_layer(use.node) for use in value.uses() if use.idx == 0]
    return [
        layer
        for layer in layers
        if layer is not None and layer.node.op_type != "Conv" and layer.activation is value
    ]


def _factors(
    value: ir.Value,
    layers: list[LinearLayer],
    statistics: Mapping[str, TensorStatistics],
    weight_noise: float,
) -> Wide | None:
    channels = statistics[str(value.name)].channels
    if channels is None or channels.axis != (rank(value) or 0) - 1:
        return None
    reach = np.maximum(np.abs(channels.minimum), np.abs(channels.maximum))
    readers = [Reader.of(layer) for layer in layers]
    if any(reader.weights.shape[1] != len(reach) for reader in readers):
        return None
    return best_factors([(reach, reader) for reader in readers], weight_noise)


def _apply(
    graph: ir.Graph, value: ir.Value, layers: list[LinearLayer], factors: Wide, names: Names
) -> None:
    for layer in layers:
        scale_inputs(graph, layer, factors, names)
    if _can_absorb(value, layers):
        norm = value.producer()
        assert norm is not None
        for position in range(1, len(norm.inputs)):
            vector = constant(norm.inputs[position])
            if vector is not None:
                replace_constant(graph, norm, position, vector / factors, names)
        return
    readers = [(layer.node, 0) for layer in layers]
    insert_product(graph, value, 1.0 / factors, readers, names)


def _can_absorb(value: ir.Value, layers: list[LinearLayer]) -> bool:
    """Whether a value is of a normalization over the last axis, and only the products read it."""
    norm = value.producer()
    if norm is None or norm.domain != "" or norm.op_type not in _NORMS or value.is_graph_output():
        return False
    vectors = [constant(vector) for vector in norm.inputs[1:] if vector is not None]
    if any(vector is None or vector.ndim != 1 for vector in vectors):
        return False
    return {use.node for use in value.uses()} == {layer.node for layer in layers}
