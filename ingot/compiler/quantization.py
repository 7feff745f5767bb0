"""How the driver quantizes: passes that know the target and the data, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ingot.calibration.collection import Calibration
from ingot.calibration.reference import Reference
from ingot.compiler.recipe import Recipe
from ingot.errors import UsageError
from ingot.passes.base import ToleranceKind, pass_tolerance
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.quantization.profile import PROFILES
from ingot.passes.quantization.qdq import InsertQdq
from ingot.passes.registry import create
from ingot.targets.base import Target

# Samples on which the quantized graph is compared with the float one for the manifest.
_COMPARED_SAMPLES = 16


def make_passes(
    plan: Recipe, target: Target, calibration: Calibration | None
) -> list[ir.passes.PassBase]:
    """Makes a recipe's passes for a target, and gives data to those that look at it.

    Args:
        plan: The recipe.
        target: The target; quantization follows what it computes in integers, unless the recipe
            says otherwise.
        calibration: The data, if there is any.

    Raises:
        UsageError: An unknown pass or option, or a pass that needs data has none.
    """
    passes = [pass_ for spec in plan.passes for pass_ in create(spec)]
    for pass_ in passes:
        if isinstance(pass_, InsertQdq) and target.kind in PROFILES:
            given = pass_.options.model_fields_set
            suited = {key: value for key, value in target.quantization.items() if key not in given}
            pass_.options = pass_.options.model_copy(update=suited)
    for pass_ in passes:
        if isinstance(pass_, CalibratedPass):
            if calibration is not None:
                pass_.calibrate_with(calibration)
            else:
                _ = pass_.calibration
    return passes


def is_lossy(passes: Sequence[ir.passes.PassBase]) -> bool:
    """Whether a pass may change the outputs by more than rounding."""
    return any(pass_tolerance(pass_).kind is ToleranceKind.LOSSY for pass_ in passes)


def precision_facts(plan: Recipe, model: ir.Model) -> dict[str, Any]:
    """The manifest's ``precision``: of the whole, and of each layer with weights."""
    layers = layer_precisions(model.graph) if plan.precision != "fp32" else {}
    return {"default": plan.precision, "layers": layers}


def output_sqnr(
    before: ir.Model, after: ir.Model, samples: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Signal-to-quantization-noise ratio of each float output, in decibels; None when equal."""
    references = [Reference(model) for model in (before, after)]
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for sample in samples:
        expected, actual = (reference.run(sample) for reference in references)
        for name, array in expected.items():
            if array.dtype.kind != "f":
                continue
            wide = array.astype(np.float64)
            error = actual[name].astype(np.float64) - wide
            signal[name] = signal.get(name, 0.0) + float((wide**2).sum())
            noise[name] = noise.get(name, 0.0) + float((error**2).sum())
    return {
        name: float(10 * np.log10(max(signal[name], 1e-300) / noise[name])) if noise[name] else None
        for name in signal
    }


def compared_samples(calibration: Calibration | None) -> list[Mapping[str, Any]]:
    """The samples on which the quantized graph is compared with the float one."""
    if calibration is None:
        return []
    return [sample.inputs for sample in calibration.samples(_COMPARED_SAMPLES)]


def require_precision(plan: Recipe) -> None:
    """Refuses a recipe whose precision no pass of it brings about.

    Raises:
        UsageError: It says int8 and has no quantization pass.
    """
    quantizes = any(spec.name.split(".")[0] == "quantization" for spec in plan.passes)
    if plan.precision != "fp32" and not quantizes:
        raise UsageError(
            f"the recipe's precision is {plan.precision}, and none of its passes quantizes: add "
            "'quantization', or start from the recipe 'int8'"
        )
