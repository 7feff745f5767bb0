"""Learned rounding of weights, layer by layer, with the biases that make up for what remains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.calibration.collection import Calibration
from ingot.errors import UsageError
from ingot.passes.base import Declined, PassOptions, PassOutcome
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.headroom import Headroom, Sums
from ingot.passes.quantization.moments import Moments, moments
from ingot.passes.quantization.qdq import FLOAT_MODEL, WEIGHT_SUMS
from ingot.passes.quantization.quantized_layer import QuantizedLayer, quantized_layers
from ingot.passes.quantization.rounding import round_columns, without_chance
from ingot.passes.quantization.walk import Walk

Wide = npt.NDArray[np.float64]

_BATCH = 8
_DAMPING_PER_INPUT = 0.5
# Of all samples' inputs together: 96 images of 224 x 224.
_MOST_ELEMENTS = 96 * 3 * 224 * 224


class LearnRoundingOptions(PassOptions):
    """Options of ``quantization.weight-rounding``."""

    samples: int = pydantic.Field(
        default=256,
        gt=0,
        description="most samples to learn from; large ones (images) are fewer",
    )
    damping: float = pydantic.Field(
        default=0.3, gt=0, description="part of the mean diagonal added to the second moments"
    )


class LearnRounding(CalibratedPass[LearnRoundingOptions]):
    """Rounds each layer's weights for the least error of its output, and corrects its bias.

    Each layer sees its input as the layers before it, already rounded, compute it.
    """

    name: ClassVar[str] = "quantization.weight-rounding"
    summary: ClassVar[str] = "Round weights for the least error of each layer's output."
    options_type: ClassVar[type[PassOptions]] = LearnRoundingOptions

    def call(self, model: ir.Model) -> PassOutcome:
        """Rounds the weights of a graph that ``quantization.qdq`` made."""
        float_model = float_model_of(model, self.name)
        layers = list(quantized_layers(model, float_model))
        declined: list[Declined] = []
        visits = visit_layers(model, float_model, self.calibration, self.options.samples)
        for number, visit in enumerate(visits, start=1):
            self.calibration.progress("rounding the layers' weights", number, len(layers))
            _round(visit, self.options.damping, model.graph.meta.get(WEIGHT_SUMS, 1))
            if not visit.layer.can_hold_bias():
                declined.append(
                    Declined(str(visit.layer.node.name), "it has no bias that could be corrected")
                )
        return PassOutcome(model, bool(layers), len(layers), declined)


class Visit:
    """A layer with what is known of its input."""

    def __init__(self, layer: QuantizedLayer, found: Moments) -> None:
        self.layer = layer
        self.found = found

    @property
    def weights(self) -> Wide:
        """The float weights by group, [groups, channels, inputs]."""
        rows = self.layer.layer.to_rows(self.layer.layer.array()).astype(np.float64)
        groups = len(self.found.mean)
        return rows.reshape(groups, -1, rows.shape[1])


def visit_layers(
    model: ir.Model, float_model: ir.Model, calibration: Calibration, samples: int
) -> Iterator[Visit]:
    """Yields the layers of a QDQ graph in order, each with the moments of its input.

    A layer may be changed while it is visited; later layers see what that does to their inputs.
    """
    inputs = batches(model, calibration, samples)
    walk = Walk(model, inputs)
    for layer in list(quantized_layers(model, float_model)):
        source = layer.activation.inputs[0]
        assert source is not None
        integers = walk.before(layer.activation, source)
        values = (layer.dequantized(array) for array in integers)
        yield Visit(layer, moments(layer.layer, values))


def batches(
    model: ir.Model, calibration: Calibration, samples: int
) -> list[dict[str, npt.NDArray[Any]]]:
    """The first samples, single examples of one shape joined into batches.

    What is between two layers is held for all samples at once, so large samples are fewer.
    """
    found: list[Mapping[str, npt.NDArray[Any]]] = []
    elements = 0
    for inputs in calibration.fitted(model, samples):
        found.append(inputs)
        elements += sum(array.size for array in inputs.values())
        if elements >= _MOST_ELEMENTS:
            break
    fixed = any(value.shape and isinstance(value.shape[0], int) for value in model.graph.inputs)
    alike: dict[tuple[tuple[int, ...], ...], list[Mapping[str, npt.NDArray[Any]]]] = {}
    for inputs in found:
        alike.setdefault(tuple(array.shape for array in inputs.values()), []).append(inputs)
    joined = []
    for shapes, group in alike.items():
        size = 1 if fixed or any(shape[:1] != (1,) for shape in shapes) else _BATCH
        for start in range(0, len(group), size):
            part = group[start : start + size]
            joined.append(
                {n: np.concatenate([one[n] for one in part]) for n in part[0]}
                if len(part) > 1
                else dict(part[0])
            )
    return joined


def float_model_of(model: ir.Model, name: str) -> ir.Model:
    """The float graph that ``quantization.qdq`` left with the QDQ graph.

    Raises:
        UsageError: The graph was not quantized in this run.
    """
    found = model.graph.meta.get(FLOAT_MODEL)
    if not isinstance(found, ir.Model):
        raise UsageError(f"'{name}' comes after 'quantization.qdq' in a recipe")
    return found


def corrected_bias(visit: Visit, weights: Wide, bias: Wide) -> Wide:
    """The bias with which quantized weights give the mean output of float ones; [channels].

    Only for the same inputs: what quantization did to the mean of the inputs themselves is mostly
    the few large values that a range cuts off, and a constant in all places does not bring them
    back (ResNet-50 loses 7 dB by it).

    Args:
        visit: The layer and the moments of its input.
        weights: The real numbers that its integers stand for, [groups, channels, inputs].
        bias: The float layer's bias, [channels].
    """
    rest = visit.weights - weights
    return np.asarray(bias + np.einsum("grk,gk->gr", rest, visit.found.mean).reshape(-1))


def _round(visit: Visit, damping: float, weight_sums: Sums) -> None:
    layer = visit.layer
    weights, bias = visit.weights, layer.bias()
    groups, channels, inputs = weights.shape
    headroom = Headroom.of(layer.layer, weight_sums)
    scales = layer.scales
    wide = scales.astype(np.float64).reshape(groups, channels)
    budget = None if headroom is None else headroom.budget(groups, channels)
    hessian = without_chance(visit.found.covariance, visit.found.reliable)
    integers = round_columns(weights, wide, hessian, damping=damping, budget=budget)
    layer.replace_weights(integers.reshape(-1, inputs), scales)
    layer.replace_bias(corrected_bias(visit, integers * wide[:, :, None], bias))
