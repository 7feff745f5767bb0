"""How the driver quantizes: passes that know the target and the data, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ingot.calibration.collection import Calibration
from ingot.compiler.accuracy.budget import hold_budget
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.compiler.accuracy.sensitivity import layer_noise
from ingot.compiler.recipe import Recipe
from ingot.data import Dataset
from ingot.errors import UsageError
from ingot.passes.base import IngotPass, ToleranceKind, pass_tolerance
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.quantization.qdq import FLOAT_MODEL
from ingot.passes.quantization.quantized_layer import quantized_layers
from ingot.passes.record import PassRecord
from ingot.passes.registry import create
from ingot.progress import Progress, no_progress
from ingot.reference.session import Reference
from ingot.targets.base import Target

# Samples on which the quantized graph is compared with the float one for the manifest.
_COMPARED_SAMPLES = 8


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
    passes = [pass_ for spec in plan.pipeline for pass_ in create(spec)]
    for pass_ in passes:
        if not isinstance(pass_, IngotPass):
            continue
        pass_.arithmetic = target.arithmetic
        given = pass_.options.model_fields_set
        suited = target.pass_options.get(pass_.name, {})
        wanted = {key: value for key, value in suited.items() if key not in given}
        pass_.options = pass_.options.model_copy(update=wanted)
    for pass_ in passes:
        if isinstance(pass_, CalibratedPass):
            if calibration is not None:
                pass_.calibrate_with(calibration)
            elif pass_.needs_data:
                _ = pass_.calibration
    return passes


def was_lossy(passes: Sequence[ir.passes.PassBase], records: Sequence[PassRecord]) -> bool:
    """Whether a pass that may change the outputs by more than rounding has changed the graph.

    Args:
        passes: The passes.
        records: What came of each.
    """
    return any(
        record.changed and pass_tolerance(pass_).kind is ToleranceKind.LOSSY
        for pass_, record in zip(passes, records, strict=True)
    )


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


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What the passes made, before it is lowered.

    Attributes:
        model: The graph, not to be changed.
        lossy: Whether a pass changed results by intent, so that the graph is the reference.
        samples: Real inputs to compare on; empty where there are none.
        facts: What the manifest's ``measured`` says of quantization.
    """

    model: ir.Model
    lossy: bool
    samples: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def finish_quantization(
    model: ir.Model,
    lossy: bool,
    calibration: Calibration | None,
    budget: float | None,
    data: Dataset | None,
    progress: Progress = no_progress,
) -> Quantized:
    """Takes the quantized graph, keeps to the accuracy budget, and measures the layers' noise.

    Args:
        model: What the passes made.
        lossy: Whether a pass changed results by intent.
        calibration: What they were calibrated with.
        budget: The largest loss of accuracy; None for any.
        data: Labelled data to hold the budget on.
        progress: Told of each layer whose sensitivity was measured.

    Raises:
        UsageError: A budget is asked for, and no pass quantizes layers, or there is no data.
        VerificationError: The budget cannot be held.
    """
    samples = compared_samples(calibration, model)
    float_model = model.graph.meta.get(FLOAT_MODEL)
    if not isinstance(float_model, ir.Model) or not samples:
        if budget is not None:
            raise UsageError("an accuracy budget is for a recipe that quantizes to int8")
        return Quantized(model.clone(), lossy, samples)
    if not any(quantized_layers(model, float_model)):
        return Quantized(model.clone(), lossy, samples)
    facts: dict[str, Any] = {}
    layers: Sequence[LayerSensitivity]
    if budget is None:
        layers = layer_noise(model, float_model, samples)
    else:
        if data is None:
            raise UsageError("an accuracy budget is held on labelled data: give it with --data")
        held = hold_budget(model, float_model, data, budget, samples, progress=progress)
        model, layers = held.model, held.layers
        facts["budget"] = held.facts.model_dump(mode="json")
    facts["output_sqnr_db"] = output_sqnr(float_model, model, samples)
    facts["samples"] = len(samples)
    facts["layers"] = [layer.model_dump(mode="json") for layer in layers]
    return Quantized(model.clone(), True, samples, facts)


def compared_samples(calibration: Calibration | None, model: ir.Model) -> list[Mapping[str, Any]]:
    """The samples on which the quantized graph is compared with the float one."""
    if calibration is None:
        return []
    return list(calibration.fitted(model, _COMPARED_SAMPLES))


def require_precision(plan: Recipe) -> None:
    """Refuses a recipe whose precision no pass of it brings about.

    Raises:
        UsageError: It says int8 and has no quantization pass, or 16 bits and no precision pass.
    """
    group = {"int8": "quantization", "bf16": "precision", "fp16": "precision"}.get(plan.precision)
    if group is not None and group not in {spec.name.split(".")[0] for spec in plan.passes}:
        does = "quantizes" if group == "quantization" else "rounds to 16 bits"
        adds = "add 'quantization', or " if group == "quantization" else ""
        raise UsageError(
            f"the recipe's precision is {plan.precision}, and none of its passes {does}: {adds}"
            f"start from the recipe '{plan.precision}'"
        )
