"""Precisions layer by layer: the layers that 8 bits harm most get more bits.

Harm is measured: the noise of each layer's output when all layers are quantized, which the artifact
in 8 bits has in its manifest. What the others save in time is measured on whole artifacts, since
where a layer's precision changes its neighbours read and write another type, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ingot.arithmetic import Arithmetic
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.compiler.recipe import Recipe
from ingot.optimization.steps import Step
from ingot.passes.base import IngotPass
from ingot.passes.registry import PassSpec, create

SHARES = (0.1, 0.25, 0.5)
"""Parts of the multiply-adds that are tried in more than 8 bits, the least first."""
_PLACES = "quantization.qdq"
Wide = Literal["bf16", "fp16", "fp32"]


def mixed_steps(
    measured: Mapping[str, Any], arithmetic: Arithmetic, *, always: bool = False
) -> list[Step]:
    """Steps that give more bits to the layers that need them most.

    Args:
        measured: What was measured when the model was compiled in 8 bits, from its manifest.
        arithmetic: What the target computes in which type.
        always: Try them also where 8 bits alone, or fewer such layers, are within the budget.
    """
    found = measured.get("quantization", {}).get("layers", ())
    layers = [LayerSensitivity.model_validate(layer) for layer in found]
    wide = _widest(arithmetic)
    steps: list[Step] = []
    seen: set[tuple[str, ...]] = {(), tuple(layer.name for layer in layers)}
    milder = "int8"
    for share in SHARES:
        chosen = noisiest(layers, share)
        if tuple(chosen) in seen:
            continue
        seen.add(tuple(chosen))
        name = f"int8, {len(chosen)} of {len(layers)} layers in {wide}"
        steps.append(
            Step(name, "precision", _mixed(chosen, wide), gentler_than=None if always else milder)
        )
        milder = name
    return steps


def noisiest(layers: Sequence[LayerSensitivity], share: float) -> list[str]:
    """The noisiest layers that hold a part of the multiply-adds, and no more than it takes.

    Args:
        layers: All quantized layers; one whose output cannot be seen is never among them.
        share: The part, between 0 and 1.
    """
    total = sum(layer.multiply_adds for layer in layers)
    seen = [layer for layer in layers if layer.layer_sqnr_db is not None]
    chosen: list[str] = []
    held = 0
    for layer in sorted(seen, key=lambda layer: layer.layer_sqnr_db or 0.0):
        if held >= share * total:
            break
        chosen.append(layer.name)
        held += layer.multiply_adds
    return chosen


def mixed_recipe(recipe: Recipe, wider: Sequence[str], wide: Wide) -> Recipe:
    """A recipe in 8 bits with some layers in another type.

    Args:
        recipe: One that is not quantized.
        wider: Names of these layers.
        wide: Their type.
    """
    quantized = recipe.computed_in("int8")
    passes: list[PassSpec] = []
    for spec in quantized.passes:
        if spec.name != "quantization":
            passes.append(spec)
            continue
        for name in (pass_.name for pass_ in create(spec) if isinstance(pass_, IngotPass)):
            options = {"keep_float": list(wider)} if name == _PLACES else {}
            passes.append(PassSpec(name=name, options=options))
    if wide != "fp32":
        passes.append(PassSpec(name="precision.sixteen-bits", options={"type": wide}))
    return quantized.model_copy(update={"name": f"int8-{wide}", "passes": tuple(passes)})


def _mixed(wider: Sequence[str], wide: Wide) -> Callable[[Recipe], Recipe]:
    return lambda recipe: mixed_recipe(recipe, wider, wide)


def _widest(arithmetic: Arithmetic) -> Wide:
    """What the target multiplies in besides 8 bits, the fastest first."""
    if arithmetic.sixteen_bits.get("bf16"):
        return "bf16"
    return "fp16" if arithmetic.sixteen_bits.get("fp16") else "fp32"
