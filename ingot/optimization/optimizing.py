"""From a model and data to the best artifact within a budget of accuracy and of time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.compiler.artifact_writer import write_artifact
from ingot.compiler.build import Artifact
from ingot.compiler.destinations import require_destinations
from ingot.compiler.optimization_record import Goal, Optimization
from ingot.compiler.recipe import Recipe, load_recipe
from ingot.data import Dataset
from ingot.data.preprocessing import Preprocessing
from ingot.files import temporary_folder
from ingot.optimization.candidates import Candidate, Candidates
from ingot.optimization.precisions import mixed_steps
from ingot.optimization.steps import PRUNED_RATIOS, Step, guard_steps, search_steps
from ingot.optimization.subject import Subject, open_subject
from ingot.optimization.tournament import Result, Rules, Tournament
from ingot.optimization.workplace import Workplace
from ingot.progress import Progress, no_progress
from ingot.report.machine import machine_facts
from ingot.report.measure import MeasureSettings, choose_cpus
from ingot.runtime import ArtifactReader
from ingot.runtime.cpu_quota import usable_cpus
from ingot.targets.registry import parse_target

# Timed inferences of either side when a step is compared with the best so far.
_RUNS = 100
_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Optimized:
    """The best artifact, and how it was found."""

    artifact: Artifact
    optimization: Optimization


def optimize(
    model: str | Path,
    output: str | Path,
    data: Dataset | str | Path | None = None,
    *,
    goal: Goal = "latency",
    accuracy_budget: float = 0.5,
    target: str | None = None,
    recipe: str | Path | Recipe | None = None,
    guard: bool = False,
    metric: str | None = None,
    preprocessing: Preprocessing | None = None,
    calibration: Dataset | str | Path | None = None,
    limit: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    ratios: Sequence[float] = PRUNED_RATIOS,
    by_layer: bool = False,
    threads: int | None = None,
    time_budget: float | None = None,
    state: str | Path | None = None,
    progress: Progress = no_progress,
) -> Optimized:
    """Finds the best artifact of a model, trying steps that are kept only where they pay.

    What each step does, on top of those kept before it, is compiled, judged on the data in pairs
    with the model in float32, and timed in turn with the best so far on this machine; for an NPU
    Vela's estimates stand in for times, and the record says so.

    Args:
        model: An ONNX file.
        output: Where the artifact goes.
        data: Labelled examples; without them only steps are tried that cost no accuracy.
        goal: What has to become better: ``latency`` of an inference, ``throughput`` of inferences
            that run beside each other on a thread each, or ``size`` of the artifact.
        accuracy_budget: Largest loss of accuracy, in the metric's unit.
        target: Overrides the recipe's.
        recipe: What the reference is compiled by; by default ``fp32``.
        guard: Try the recipe's own optional steps on what is left without them, instead of
            searching.
        metric: What accuracy means; by default what fits the data.
        preprocessing: How data becomes the model's inputs; by default what the model carries.
        calibration: What quantization and pruning are calibrated with; by default some of the data.
        limit: The most examples to judge by, spread evenly.
        shapes: What symbolic dimensions are bound to, by input name.
        ratios: Parts of the parameters to try to prune.
        by_layer: Try more bits for the layers that 8 bits harm most also where 8 bits alone are
            within the budget.
        threads: Threads per inference; by default one per CPU that this process may use, and one
            for throughput.
        time_budget: Seconds after which no further step is begun.
        state: A folder that keeps finished work for when this is run again; by default nothing is
            kept.
        progress: Told what is being done.

    Returns:
        The artifact, in whose manifest it is noted what was tried, and that record.

    Raises:
        ModelError: The model cannot be compiled.
        DataError: The data is missing, damaged, or does not fit the model.
        UsageError: An option is wrong, or the code is for a machine that is not here.
    """
    begun = time.monotonic()
    path, plan = Path(output), load_recipe(recipe)
    plan = plan.model_copy(update={"target": target or plan.target, "guard": False})
    require_destinations(path, [str(model)], dump_passes=None, save_graph=None)
    subject, notes = open_subject(
        Path(model),
        data,
        metric,
        preprocessing,
        calibration or plan.calibration.data,
        limit,
        shapes,
    )
    settings = _settings(goal, threads)
    deadline = None if time_budget is None else begun + time_budget
    rules = Rules(goal, accuracy_budget, deadline)
    start, steps = _steps(plan, guard, subject, accuracy_budget, ratios, by_layer)
    with temporary_folder("ingot-optimize-") as scratch:
        workplace = Workplace(Path(scratch if state is None else state))
        machine = machine_facts().cpu
        candidates = Candidates(subject, workplace, settings, machine, progress)
        in_float = None
        if start.precision != "fp32":
            in_float = Recipe(shapes=start.shapes)
        result = Tournament(start, candidates, subject, rules, progress, in_float).run(steps)
        found = _record(result, rules, start, subject, settings, machine, notes)
        return Optimized(_write(result.best.candidate, found, path), found)


def _steps(
    plan: Recipe,
    guard: bool,
    subject: Subject,
    budget: float,
    ratios: Sequence[float],
    by_layer: bool,
) -> tuple[Recipe, list[Step]]:
    """The recipe of the reference, and the steps to try on it."""
    if guard:
        return guard_steps(plan)
    arithmetic = parse_target(plan.target).arithmetic
    calibrated = subject.calibration is not None
    if arithmetic.integers.every_edge:
        plan = plan.computed_in("int8")

    def refine(measured: Mapping[str, Any]) -> list[Step]:
        return mixed_steps(measured, arithmetic, always=by_layer)

    return plan, search_steps(
        arithmetic, budget, calibrated=calibrated, ratios=ratios, refine=refine
    )


def _settings(goal: Goal, threads: int | None) -> MeasureSettings:
    count = threads or (1 if goal == "throughput" else usable_cpus())
    plain = MeasureSettings(threads=count, cpus=(), runs=_RUNS, seconds=_SECONDS)
    return dataclasses.replace(plain, cpus=choose_cpus(plain.threads))


def _record(
    result: Result,
    rules: Rules,
    start: Recipe,
    subject: Subject,
    settings: MeasureSettings,
    machine: str,
    notes: Sequence[str],
) -> Optimization:
    accuracy = result.best.accuracy
    told = list(notes)
    judged = next((t.accuracy for t in result.trials if t.accuracy is not None), None)
    if judged is not None and judged.resolution > rules.budget:
        told.append(
            f"The data cannot resolve the budget: {judged.examples:,} examples tell a loss of "
            f"{judged.metric} to {judged.resolution:.2f}, and the budget is {rules.budget:g}."
        )
    return Optimization(
        goal=rules.goal,
        budget=None if subject.metric is None else rules.budget,
        reference=start.name,
        kept=tuple(step.name for step in result.best.kept.values()),
        trials=result.trials,
        speed=result.speed,
        accuracy=accuracy,
        bytes=result.best.candidate.size,
        reference_bytes=result.reference.size,
        threads=settings.threads,
        machine=machine,
        notes=tuple(told),
    )


def _write(best: Candidate, found: Optimization, path: Path) -> Artifact:
    """Writes the best artifact with the record of how it was found in its manifest."""
    reader = ArtifactReader(best.path)
    measured = {**reader.manifest.measured, "optimization": found.model_dump(mode="json")}
    manifest = dataclasses.replace(reader.manifest, measured=measured)
    members = {name: reader.member(name) for name in manifest.members}
    write_artifact(path, manifest, members)
    return Artifact(path, manifest)
