"""Bias correction: rounding weights does not move the mean of a layer's output.

With W the weights and R what they are rounded to, the output moves by (R - W) E[x]: Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2,
with the mean of the inputs that the corrected layers before give on samples.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pydantic

from ingot.passes.base import Declined, PassOptions, PassOutcome
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.weight_rounding import corrected_bias, float_model_of, visit_layers


class CorrectBiasOptions(PassOptions):
    """Options of ``quantization.bias-correction``."""

    samples: int = pydantic.Field(
        default=256, gt=0, description="most samples to take means over; images are fewer"
    )


class CorrectBias(CalibratedPass[CorrectBiasOptions]):
    """Takes back by the bias what rounding its weights does to a layer's mean output.

    Learned rounding does this itself; on its own this is for weights that are rounded to nearest.
    """

    name: ClassVar[str] = "quantization.bias-correction"
    summary: ClassVar[str] = "Take back by the bias what rounding does to a layer's mean output."
    options_type: ClassVar[type[PassOptions]] = CorrectBiasOptions
    by_name_only: ClassVar[bool] = True

    def call(self, model: ir.Model) -> PassOutcome:
        """Corrects the biases of a graph that ``quantization.qdq`` made."""
        float_model = float_model_of(model, self.name)
        applied, declined = 0, []
        for visit in visit_layers(model, float_model, self.calibration, self.options.samples):
            layer = visit.layer
            if not layer.can_hold_bias():
                declined.append(Declined(str(layer.node.name), "it has no bias to correct"))
                continue
            scales = layer.scales.astype(np.float64)[:, None]
            weights = (layer.rows() * scales).reshape(visit.weights.shape)
            layer.replace_bias(corrected_bias(visit, weights, layer.bias()))
            applied += 1
        return PassOutcome(model, applied > 0, applied, declined)
