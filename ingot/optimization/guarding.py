"""The guard: each optional step of a recipe is kept only where it is measured to pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ingot.compiler.build import ARTIFACT_SUFFIX
from ingot.compiler.data import DataLike
from ingot.compiler.recipe import load_recipe
from ingot.data import Dataset
from ingot.data.preprocessing import Preprocessing
from ingot.errors import UsageError
from ingot.optimization.optimizing import optimize
from ingot.progress import Progress, no_progress
from ingot.report.variants import RecipeLike, Variant

# Largest loss of accuracy where a recipe says nothing else, in the metric's unit.
DEFAULT_BUDGET = 0.5


def guarded(
    recipe: RecipeLike,
    model: Path,
    folder: Path,
    data: Dataset | str | Path | None = None,
    *,
    target: str | None = None,
    preprocessing: Preprocessing | None = None,
    calibration: DataLike | None = None,
    limit: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Variant:
    """Compiles a recipe with those of its optional steps that pay, as a variant of a report.

    Args:
        recipe: The recipe (its name, file, keys, or itself).
        model: The ONNX file.
        folder: Where the artifact goes.
        data: Labelled examples; without them no step is kept that may cost accuracy.
        target: Overrides the recipe's.
        preprocessing: How data becomes the model's inputs; by default what the model carries.
        calibration: What quantization is calibrated with, over the recipe's.
        limit: The most examples to judge by.
        shapes: What symbolic dimensions are bound to.
        threads: Threads per inference when steps are timed.
        progress: Told what is being done.

    Raises:
        IngotError: The model cannot be compiled without the steps.
        UsageError: The calibration is no data set.
    """
    plan = load_recipe(recipe)
    if calibration is not None and not isinstance(calibration, (Dataset, str, Path)):
        raise UsageError("the guard calibrates with a path or a data set")
    budget = DEFAULT_BUDGET if plan.accuracy_budget is None else plan.accuracy_budget
    made = optimize(
        model,
        folder / f"guarded-{len(list(folder.iterdir()))}{ARTIFACT_SUFFIX}",
        data if data is not None else plan.data,
        accuracy_budget=budget,
        target=target,
        recipe=plan,
        guard=True,
        preprocessing=preprocessing,
        calibration=calibration,
        limit=limit,
        shapes=shapes,
        threads=threads,
        progress=progress,
    )
    return Variant(f"Ingot {plan.name}, guarded", "ingot", artifact=made.artifact.path)
