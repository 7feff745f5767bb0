"""Candidates: compiled, judged and timed, each of it once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ingot.compiler.agreement import runs_here
from ingot.compiler.build import compile_model
from ingot.compiler.optimization_record import SpeedFound
from ingot.compiler.recipe import Recipe
from ingot.data.base import Array
from ingot.data.metrics import Metric
from ingot.errors import UsageError
from ingot.optimization.subject import Subject
from ingot.optimization.workplace import Workplace, key_of
from ingot.progress import Progress
from ingot.report.evaluate import answers
from ingot.report.measure import MeasureSettings, measure
from ingot.report.npu import is_for_npu, read_estimate
from ingot.report.process import Worker
from ingot.runtime import ArtifactReader, Manifest
from ingot.statistics import ratio_of_medians


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A compiled recipe.

    Attributes:
        name: For people.
        key: Of what it was made from.
        path: Its artifact.
        manifest: What the artifact says of itself.
    """

    name: str
    key: str
    path: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Size of the artifact in bytes."""
        return self.path.stat().st_size

    @property
    def cycles(self) -> int | None:
        """Estimated cycles of an inference on an NPU; None where it has no part in it."""
        if not is_for_npu(self.manifest) or not self.manifest.npu_regions:
            return None
        return read_estimate(self.path).cycles


class Candidates:
    """Makes candidates and finds out about them; what is known already is not done again."""

    def __init__(
        self,
        subject: Subject,
        workplace: Workplace,
        settings: MeasureSettings,
        machine: str,
        progress: Progress,
    ) -> None:
        """Takes the model with its data, where to keep work, and how to measure on what machine."""
        self._subject, self._workplace = subject, workplace
        self._settings, self._machine, self._progress = settings, machine, progress

    def compile(self, name: str, recipe: Recipe) -> Candidate:
        """Compiles a recipe, or finds its artifact.

        Raises:
            IngotError: It cannot be compiled.
        """
        subject = self._subject
        calibration = subject.calibration if recipe.learns else None
        held_on = None if recipe.accuracy_budget is None else subject.data
        key = key_of(
            "artifact",
            subject.digest,
            recipe.model_dump(mode="json", exclude={"name"}),
            {name: list(shape) for name, shape in subject.shapes.items()},
            None if calibration is None else calibration.digest,
            None if held_on is None else held_on.digest,
        )
        path = self._workplace.artifact(key)
        if not self._workplace.has_artifact(key):
            compile_model(
                subject.model,
                path,
                recipe=recipe,
                shapes=subject.shapes,
                calibration=calibration,
                data=held_on,
                progress=lambda what, done, total: self._progress(f"{name}: {what}", done, total),
            )
        return Candidate(name, key, path, ArtifactReader(path).manifest)

    def answers(self, candidate: Candidate, metric: Metric) -> Array:
        """What a candidate answers on the data, as a metric makes it of the outputs.

        Raises:
            DataError: An example is damaged or does not fit the model.
            IngotError: The candidate fails on an example.
        """
        subject = self._subject
        assert subject.data is not None
        key = key_of("answers", candidate.key, subject.data.digest, metric.name)
        kept = self._workplace.arrays(key)
        if kept is None:
            with self._worker(candidate) as worker:
                found = answers(worker, subject.data, metric, self._progress)
            kept = {"answers": np.asarray(found)}
            self._workplace.keep(key, kept)
        return kept["answers"]

    def speed(
        self, candidate: Candidate, other: Candidate, *, once_more: bool = False
    ) -> SpeedFound:
        """How many times as fast a candidate is as another one.

        Measured in turn on this machine, or of estimates where the code is for an NPU.

        Args:
            candidate: Whose speed is asked for.
            other: Whom it is compared with.
            once_more: Measure again what may have been measured before: whoever won by chance does
                not win by the same chance twice.

        Raises:
            UsageError: The code is for a CPU that is not here.
            IngotError: One of them fails.
        """
        if is_for_npu(candidate.manifest):
            return _estimated(candidate, other)
        settings = self._settings
        key = key_of(
            "speed once more" if once_more else "speed",
            candidate.key,
            other.key,
            self._machine,
            settings.threads,
            settings.runs,
        )
        kept = self._workplace.facts(key)
        if kept is None:
            kept = self._measured(candidate, other).model_dump(mode="json")
            self._workplace.note(key, kept)
        return SpeedFound.model_validate(kept).model_copy(update={"against": other.name})

    def _measured(self, candidate: Candidate, other: Candidate) -> SpeedFound:
        for one in (candidate, other):
            if not runs_here(one.manifest):
                raise UsageError(
                    f"{one.manifest.target.spec} is not this machine, so that nothing can be timed "
                    "for it: run this there, or take --goal size"
                )
        with self._worker(other) as first, self._worker(candidate) as second:
            before, after = measure(
                [first, second], self._subject.timed, self._settings, self._progress
            )
        ratio = ratio_of_medians(before.rounds, after.rounds)
        return SpeedFound(
            against=other.name,
            ratio=ratio.value,
            low=ratio.low,
            high=ratio.high,
            source="measured",
            milliseconds=float(np.median(after.milliseconds)),
        )

    def _worker(self, candidate: Candidate) -> Worker:
        settings = self._settings
        return Worker(
            candidate.name,
            "ingot",
            candidate.path,
            threads=settings.threads,
            cpus=settings.cpus,
        )


def _estimated(candidate: Candidate, other: Candidate) -> SpeedFound:
    mine, others = candidate.cycles, other.cycles
    if mine is None or others is None:
        raise UsageError(f"{candidate.name} or {other.name} leaves all to the CPU: no estimate")
    ratio = others / max(mine, 1)
    return SpeedFound(
        against=other.name,
        ratio=ratio,
        low=ratio,
        high=ratio,
        source=f"estimated by {read_estimate(candidate.path).source}",
        cycles=mine,
    )
