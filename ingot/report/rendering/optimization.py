"""What an optimization tried, as rows for the pages."""

from __future__ import annotations

import dataclasses

from ingot.compiler.optimization_record import Optimization, StepTrial
from ingot.report.rendering import formats

HEADER = ("step", "decision", "speed", "size", "lost", "why")


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """A step that was tried.

    Attributes:
        name: The step.
        decision: Whether it was kept.
        speed: Against the best before it.
        size: Of its artifact.
        lost: Accuracy that it costs, in the metric's unit.
        reason: Why it was kept or not.
    """

    name: str
    decision: str
    speed: str
    size: str
    lost: str
    reason: str


def trial_rows(found: Optimization) -> list[TrialRow]:
    """The rows of what was tried, in order."""
    return [_row(trial) for trial in found.trials]


def _row(trial: StepTrial) -> TrialRow:
    speed, accuracy = trial.speed, trial.accuracy
    return TrialRow(
        trial.name,
        trial.decision,
        formats.MISSING if speed is None else f"{speed.ratio:.2f}x",
        formats.MISSING if trial.bytes is None else formats.size(trial.bytes),
        formats.MISSING if accuracy is None else f"{accuracy.loss:+.2f}",
        trial.reason,
    )


def front(found: Optimization) -> str:
    """Pareto's front of accuracy and speed in a sentence; empty where less than two are on it."""
    if len(found.front) < 2:
        return ""
    points = "; ".join(
        f"{' + '.join(trial.steps)}: {trial.speed_against_reference:.2f}x as fast as "
        f"{found.reference}, {trial.accuracy.loss:+.2f} lost"
        for trial in found.front
        if trial.accuracy is not None
    )
    return f"None beats these in both speed and accuracy: {points}."
