"""Equalization of channels: each channel of an activation uses the whole range of its integers.

One scale serves all channels of a tensor, so a channel with a tenth of the range of another gets a
tenth of the levels. Channels are scaled to one range, and the layers that read them undo it: Nagel
et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), there
through ReLU into the layer before. Here the ranges are those of calibration, and where an
activation function does not commute with a factor, the factor is a multiplication by a constant
vector behind it, which a kernel's epilogue merges with the scale that it multiplies by anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.arithmetic import FLOAT_EPILOGUES
from ingot.calibration.statistics import TensorStatistics
from ingot.onnx_graph.edits import Names
from ingot.onnx_graph.matching import rank, static_dim
from ingot.passes.base import FLOAT_ROUNDING, Declined, PassOptions, PassOutcome, Tolerance
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.channel_factors import Reader, best_factors
from ingot.passes.quantization.channel_groups import ChannelGroup, Unscalable, channel_group
from ingot.passes.quantization.linear import LinearLayer
from ingot.passes.quantization.placement import Placement, place
from ingot.passes.quantization.scaling import insert_product, scale_inputs, scale_outputs

Wide = npt.NDArray[np.float64]


class EqualizeOptions(PassOptions):
    """Options of ``quantization.equalization``."""

    weight_noise: float = pydantic.Field(
        default=0.5,
        ge=0.0,
        description="part of the weights' rounding noise that learned rounding leaves",
    )
    insert: bool = pydantic.Field(
        default=True, description="also behind activation functions that do not commute"
    )


class Equalize(CalibratedPass[EqualizeOptions]):
    """Channels of convolutions' activations to one range, undone by the weights that read them."""

    name: ClassVar[str] = "quantization.equalization"
    summary: ClassVar[str] = "Scale channels to equal ranges, and the weights that read them back."
    options_type: ClassVar[type[PassOptions]] = EqualizeOptions
    tolerance: ClassVar[Tolerance] = FLOAT_ROUNDING

    def call(self, model: ir.Model) -> PassOutcome:
        """Equalizes the main graph."""
        placement = place(model.graph, FLOAT_EPILOGUES)
        groups, declined = self._groups(placement)
        if not groups:
            return PassOutcome(model, False, 0, declined)
        quantized = set(placement.values)
        names = [str(v.name) for group in groups for v in group.values if v in quantized]
        statistics = self.calibration.statistics(model, names, histograms=False)
        taken = Names(model)
        applied = 0
        for group in groups:
            measured = [v for v in group.values if v in quantized]
            factors = _factors(measured, statistics, group, self.options.weight_noise)
            if factors is not None:
                _apply(model.graph, group, factors, taken)
                applied += 1
        return PassOutcome(model, applied > 0, applied, declined)

    def _groups(self, placement: Placement) -> tuple[list[ChannelGroup], list[Declined]]:
        groups: list[ChannelGroup] = []
        declined: list[Declined] = []
        done: set[ir.Value] = set()
        for value in placement.values:
            if value in done or value.shape is None or len(value.shape) < 3:
                continue
            try:
                group = channel_group(value)
            except Unscalable as reason:
                declined.append(Declined(str(value.name), str(reason)))
                continue
            done.update(group.values)
            if group.insertions and not self.options.insert:
                declined.append(Declined(str(value.name), "it needs a multiplication of its own"))
            elif group.consumers:
                groups.append(group)
        return groups, declined


def _factors(
    values: list[ir.Value],
    statistics: Mapping[str, TensorStatistics],
    group: ChannelGroup,
    weight_noise: float,
) -> Wide | None:
    """What each channel is divided by, the largest being 1; None where nothing is known."""
    pairs: list[tuple[Wide, Reader]] = []
    for value in values:
        channels = statistics[str(value.name)].channels
        if channels is None or channels.axis != 1:
            return None
        reach = np.maximum(np.abs(channels.minimum), np.abs(channels.maximum))
        readers = [Reader.of(layer) for layer in _layers_behind(value, group)]
        if any(reader.weights.shape[1] != len(reach) for reader in readers):
            return None
        pairs += [(reach, reader) for reader in readers]
    return best_factors(pairs, weight_noise)


def _layers_behind(value: ir.Value, group: ChannelGroup) -> list[LinearLayer]:
    """The layers that a value's noise gets to; through sums and gates, those of other images."""
    direct = [layer for layer in group.consumers if layer.activation is value]
    if direct:
        return direct
    return [layer for layer in group.consumers if not _is_pooled(layer.activation)]


def _is_pooled(value: ir.Value) -> bool:
    return all(static_dim(value, axis) == 1 for axis in range(2, rank(value) or 0))


def _apply(graph: ir.Graph, group: ChannelGroup, factors: Wide, names: Names) -> None:
    for layer in group.producers:
        scale_outputs(graph, layer, 1.0 / factors, names)
    for layer in group.consumers:
        scale_inputs(graph, layer, factors, names)
    for value in group.insertions:
        assert value.shape is not None
        shape = (1, -1, *(1,) * (len(value.shape) - 2))
        readers = [(use.node, use.idx) for use in value.uses()]
        insert_product(graph, value, (1.0 / factors).reshape(shape), readers, names)
