"""What an optimization tried, kept and rejected: light to import, for who only reads it."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from ingot.compiler.accuracy.judgement import Judgement

Goal = Literal["latency", "throughput", "size"]
Decision = Literal["kept", "rejected", "not tried"]


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class SpeedFound(_Model):
    """How fast a candidate is beside another one.

    Attributes:
        against: Whom it is compared with.
        ratio: How many times as fast; of medians that were measured in turn, or of estimates.
        low: Lower end of the ratio's 95 % interval; the ratio itself where it is estimated.
        high: Upper end.
        source: ``measured``, or whose estimate it is: figures of the two never stand together.
        milliseconds: Median of an inference of the candidate; None where it is estimated.
        cycles: Estimated cycles of an inference; None where it is measured.
    """

    against: str
    ratio: float
    low: float
    high: float
    source: str
    milliseconds: float | None = None
    cycles: int | None = None


class StepTrial(_Model):
    """One step that was tried on top of those that were kept before it.

    Attributes:
        name: The step, such as ``int8`` or ``prune 10 %``.
        steps: All steps of the candidate, this one among them.
        decision: Whether it was kept.
        reason: Why, in words.
        bytes: Size of the candidate's artifact; None where it could not be compiled.
        accuracy: What it costs in accuracy, against the reference; None where that was not judged.
        speed: Against the best so far; None where it was not timed.
        speed_against_reference: Against the reference, by way of the best so far.
    """

    name: str
    steps: tuple[str, ...]
    decision: Decision
    reason: str
    bytes: int | None = None
    accuracy: Judgement | None = None
    speed: SpeedFound | None = None
    speed_against_reference: float | None = None


class Optimization(_Model):
    """How the best artifact was found; the manifest keeps it as ``measured.optimization``.

    Attributes:
        goal: What had to become better.
        budget: Largest loss of accuracy, in the metric's unit; None where accuracy was not judged.
        reference: The recipe that everything is compared with.
        kept: The steps of the result, in order.
        trials: Everything that was tried, in order.
        speed: Of the result against the reference, measured once more at the end; None where the
            reference is the result.
        accuracy: What the result costs.
        bytes: Size of the result before it was noted in it how it was found.
        reference_bytes: Size of the reference.
        threads: Threads of an inference when it was timed.
        machine: The processor that it was timed on.
        notes: What a reader should know of the figures.
    """

    goal: Goal
    budget: float | None
    reference: str
    kept: tuple[str, ...]
    trials: tuple[StepTrial, ...]
    speed: SpeedFound | None
    accuracy: Judgement | None
    bytes: int
    reference_bytes: int
    threads: int
    machine: str
    notes: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[StepTrial, ...]:
        """Pareto's front: those that none beats in both speed and accuracy, the fastest first."""
        known = [
            trial
            for trial in self.trials
            if trial.accuracy is not None and trial.speed_against_reference is not None
        ]
        return tuple(
            sorted(
                (one for one in known if not any(_beats(other, one) for other in known)),
                key=lambda trial: -(trial.speed_against_reference or 0.0),
            )
        )


def _beats(first: StepTrial, second: StepTrial) -> bool:
    """Whether one is no worse in speed and accuracy, and better in one of them."""
    left, right = _places(first), _places(second)
    return left != right and all(a >= b for a, b in zip(left, right, strict=True))


def _places(trial: StepTrial) -> tuple[float, float]:
    assert trial.accuracy is not None and trial.speed_against_reference is not None
    return trial.speed_against_reference, -trial.accuracy.loss


def read_optimization(measured: Any) -> Optimization | None:
    """Returns what a manifest's ``measured`` says of how the artifact was found, if it does.

    Raises:
        ValueError: It is none of ours.
    """
    found = measured.get("optimization")
    return None if found is None else Optimization.model_validate(found)
