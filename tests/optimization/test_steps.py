"""What may be done to a recipe."""

import dataclasses

import pytest

from ingot.arithmetic import FLOAT_EPILOGUES, Arithmetic
from ingot.compiler.recipe import NAMED_RECIPES, PruneOptions, Recipe
from ingot.optimization.steps import guard_steps, recipe_of, search_steps, with_step


def test_types_that_the_target_multiplies_come_before_those_it_stores():
    steps = search_steps(
        Arithmetic(sixteen_bits={"fp16": frozenset({"MatMul"})}), 0.5, calibrated=True
    )
    names = [step.name for step in steps if step.slot == "precision"]
    assert names == ["int8", "int8 with layers in float", "fp16", "bf16"]


def test_8_bits_need_data_to_calibrate_with():
    names = [step.name for step in search_steps(Arithmetic(), 0.5, calibrated=False)]
    assert "int8" not in names and "bf16" in names


def test_a_candidate_has_one_precision_and_one_ratio():
    kept = {}
    for step in search_steps(Arithmetic(), 0.5, calibrated=True, ratios=[0.2, 0.1]):
        kept = with_step(kept, step)
    recipe = recipe_of(Recipe(), kept)
    assert recipe.precision == "fp16"
    assert recipe.prune == PruneOptions(ratio=0.2)
    assert recipe.accuracy_budget is None


@pytest.mark.parametrize("name", ["int8", "bf16", "fp32"])
def test_all_optional_steps_of_a_recipe_together_are_the_recipe(name):
    whole = NAMED_RECIPES[name].model_copy(
        update={"prune": PruneOptions(ratio=0.1), "accuracy_budget": 0.3}
    )
    bare, steps = guard_steps(whole)
    assert [spec.name for spec in bare.pipeline] == ["cleanup", "cleanup"]
    assert bare.precision == "fp32" and bare.accuracy_budget is None
    restored = recipe_of(bare, {step.slot: step for step in steps})
    if name == "fp32":  # a budget is for what is quantized
        restored = restored.model_copy(update={"accuracy_budget": 0.3})
    assert restored.model_copy(update={"name": whole.name}) == whole


def test_one_step_alone_stays_where_it_was():
    bare, steps = guard_steps(NAMED_RECIPES["int8"])
    (fusion, quantization) = steps
    assert not fusion.lossy and quantization.lossy
    names = [spec.name for spec in quantization.apply(bare).passes]
    assert names == ["cleanup", "cleanup", "quantization"]
    assert [spec.name for spec in fusion.apply(bare).passes] == ["cleanup", "fusion", "cleanup"]


def test_a_machine_without_float_arithmetic_is_only_pruned_for():
    integers = dataclasses.replace(FLOAT_EPILOGUES, every_edge=True)
    steps = search_steps(Arithmetic(integers=integers), 0.5, calibrated=True, ratios=[0.1])
    assert [step.name for step in steps] == ["prune 10 %", "prune 2:4"]
    assert steps[1].apply(NAMED_RECIPES["int8"]).prune == PruneOptions(pattern="2:4")
