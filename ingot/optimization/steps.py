"""Steps: what may be done to a recipe, each of which has to pay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from ingot.arithmetic import Arithmetic
from ingot.compiler.recipe import PruneOptions, Recipe

# Groups of passes that a recipe can do without: what they change is a matter of speed and size.
_OPTIONAL_GROUPS = ("fusion", "pruning", "quantization", "precision")
PRUNED_RATIOS = (0.1, 0.2, 0.3, 0.5)
"""Parts of the parameters that are tried, the least first."""
# Of each four input channels two, as hardware skips them.
_PATTERN = "2:4"


@dataclasses.dataclass(frozen=True)
class Step:
    """Something that can be done to a model.

    Attributes:
        name: For people, and unique: ``int8``, ``prune 10 %``.
        slot: Of the steps of one slot a candidate has one at most: the last that was kept.
        apply: What it makes of a recipe.
        lossy: Whether it may cost accuracy.
        harder_than: A step of which this one is the stronger form: not tried where that one is out
            of budget.
        gentler_than: A step of which this one is the milder form: tried only where that one is out
            of budget.
        then: From what was measured of its artifact, steps to try next.
    """

    name: str
    slot: str
    apply: Callable[[Recipe], Recipe]
    lossy: bool = True
    harder_than: str | None = None
    gentler_than: str | None = None
    then: Callable[[Mapping[str, Any]], Sequence[Step]] | None = None


Kept = Mapping[str, Step]
"""The steps of a candidate by their slots."""


def with_step(kept: Kept, step: Step) -> dict[str, Step]:
    """The steps of a candidate and one more, in the place of another of its slot."""
    return {**kept, step.slot: step}


def recipe_of(start: Recipe, kept: Kept) -> Recipe:
    """What all steps make of a recipe."""
    for step in kept.values():
        start = step.apply(start)
    return start


def search_steps(
    arithmetic: Arithmetic,
    budget: float,
    *,
    calibrated: bool,
    ratios: Sequence[float] = PRUNED_RATIOS,
    refine: Callable[[Mapping[str, Any]], Sequence[Step]] | None = None,
) -> list[Step]:
    """What is worth trying for a target, the most promising first.

    Args:
        arithmetic: What the target computes in which type.
        budget: The largest loss of accuracy.
        calibrated: Whether there is data to calibrate with, which 8 bits need.
        ratios: Parts of the parameters to prune, ascending.
        refine: From what was measured of the artifact in 8 bits, steps between it and float.
    """
    steps = []
    if arithmetic.integers.every_edge:
        # It has no float arithmetic: the reference is in 8 bits already, and zeros in a pattern
        # may be skipped.
        return [*_pruning(ratios), Step(f"prune {_PATTERN}", "pruning", _zeros)]
    if arithmetic.integers.treatments and calibrated:
        whole = Step("int8", "precision", lambda recipe: recipe.computed_in("int8"), then=refine)
        steps.append(whole)
        mixed = _held_to(budget)
        steps.append(Step("int8 with layers in float", "precision", mixed, gentler_than="int8"))
    # Types that the target multiplies in come first; of the other, weights alone are stored in it.
    kinds = sorted(("bf16", "fp16"), key=lambda kind: kind not in arithmetic.sixteen_bits)
    for kind in kinds:
        steps.append(Step(kind, "precision", _in_sixteen_bits(kind)))
    return [*steps, *_pruning(ratios)]


def _pruning(ratios: Sequence[float]) -> list[Step]:
    steps = []
    before = None
    for ratio in sorted(ratios):
        name = f"prune {100 * ratio:g} %"
        steps.append(Step(name, "pruning", _pruned(ratio), harder_than=before))
        before = name
    return steps


def guard_steps(recipe: Recipe) -> tuple[Recipe, list[Step]]:
    """Takes a recipe apart.

    Returns:
        The recipe without its optional steps, and these in their order.
    """
    steps = []
    for group in _OPTIONAL_GROUPS:
        named = [spec.name for spec in recipe.passes if spec.name.split(".")[0] == group]
        if group == "pruning" and recipe.prune is not None:
            named.insert(0, "prune")
        if named:
            steps.append(Step(group, group, _restored(recipe, group), lossy=group != "fusion"))
    bare = recipe
    for group in _OPTIONAL_GROUPS:
        bare = _without(bare, group)
    return bare.model_copy(update={"name": f"{recipe.name}, bare", "guard": False}), steps


def _without(recipe: Recipe, group: str) -> Recipe:
    passes = tuple(spec for spec in recipe.passes if spec.name.split(".")[0] != group)
    changes: dict[str, object] = {"passes": passes}
    if group == "pruning":
        changes["prune"] = None
    if group in ("quantization", "precision"):
        changes |= {"precision": "fp32", "accuracy_budget": None}
    return recipe.model_copy(update=changes)


def _restored(whole: Recipe, group: str) -> Callable[[Recipe], Recipe]:
    """What puts a group of a recipe's passes back where they were."""

    def apply(recipe: Recipe) -> Recipe:
        there = {spec.name.split(".")[0] for spec in recipe.passes} | {group}
        others = {g for g in _OPTIONAL_GROUPS if g not in there}
        passes = tuple(s for s in whole.passes if s.name.split(".")[0] not in others)
        changes: dict[str, object] = {"passes": passes}
        if group == "pruning":
            changes["prune"] = whole.prune
        if group in ("quantization", "precision"):
            changes |= {"precision": whole.precision, "accuracy_budget": whole.accuracy_budget}
        return recipe.model_copy(update=changes)

    return apply


def _held_to(budget: float) -> Callable[[Recipe], Recipe]:
    return lambda recipe: recipe.computed_in("int8").model_copy(update={"accuracy_budget": budget})


def _in_sixteen_bits(kind: str) -> Callable[[Recipe], Recipe]:
    name = cast(Literal["bf16", "fp16"], kind)
    return lambda recipe: recipe.computed_in(name)


def _zeros(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"prune": PruneOptions(pattern=_PATTERN)})


def _pruned(ratio: float) -> Callable[[Recipe], Recipe]:
    return lambda recipe: recipe.model_copy(update={"prune": PruneOptions(ratio=ratio)})
