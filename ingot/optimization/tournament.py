"""The tournament: one step after the other is tried on the best so far, and kept if it pays.

Steps are taken in their order, each once: a greedy search over the slots, whose result is never
worse than the reference by what was measured, since that is where it starts and where it goes back
to. A step pays when the whole 95 % interval of the ratio of medians, measured in turn with the best
so far, lies above one; or when it is as fast and more accurate beyond chance. The speed is asked
once more at the end, of the result and the reference: of many steps that do nothing one in forty
looks as if it did.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from ingot.compiler.accuracy.judgement import Judgement
from ingot.compiler.accuracy.judging import judge
from ingot.compiler.optimization_record import Decision, Goal, SpeedFound, StepTrial
from ingot.compiler.recipe import Recipe
from ingot.errors import IngotError
from ingot.optimization.candidates import Candidate, Candidates
from ingot.optimization.steps import Kept, Step, recipe_of, with_step
from ingot.optimization.subject import Subject
from ingot.progress import Progress

# An artifact carries tables that differ by some bytes from build to build.
_LEAST_SAVING = 0.01
# What a candidate may be slower by, at the lower end of the interval, to be called as fast.
_EQUAL = 0.95


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a step is held to.

    Attributes:
        goal: What has to become better.
        budget: Largest loss of accuracy, in the metric's unit.
        deadline: When nothing new is begun any more, by ``time.monotonic``; None for never.
    """

    goal: Goal
    budget: float
    deadline: float | None = None

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return self.deadline is not None and time.monotonic() > self.deadline


@dataclasses.dataclass(frozen=True)
class Standing:
    """A candidate in the lead.

    Attributes:
        candidate: Which one.
        kept: Its steps.
        accuracy: What it costs; None where accuracy is not judged.
        ratio: How many times as fast as the reference, by way of those it has beaten.
    """

    candidate: Candidate
    kept: Kept
    accuracy: Judgement | None = None
    ratio: float = 1.0


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        reference: What everything was compared with.
        best: The best, which may be the reference.
        speed: Of the best against the reference; None where they are the same, or where no
            estimate tells.
        trials: Everything that was tried.
    """

    reference: Candidate
    best: Standing
    speed: SpeedFound | None
    trials: tuple[StepTrial, ...]


class Tournament:
    """Tries steps on a recipe.

    Attributes:
        trials: What was tried so far, in order.
    """

    def __init__(
        self,
        start: Recipe,
        candidates: Candidates,
        subject: Subject,
        rules: Rules,
        tell: Progress,
        in_float: Recipe | None = None,
    ) -> None:
        """Takes what decides.

        Args:
            start: The recipe of the reference.
            candidates: Who makes candidates and measures them.
            subject: The data.
            rules: What a step is held to.
            tell: Told of each step.
            in_float: What accuracy is compared with, where the reference is not in float itself.
        """
        self._in_float = in_float
        self._start, self._candidates, self._subject = start, candidates, subject
        self._rules, self._tell = rules, tell
        self.trials: list[StepTrial] = []
        # Steps that are out of budget, failed, or are the stronger form of one that is out.
        self._out: set[str] = set()
        # Steps to try after another one, by its name.
        self._next: dict[str, Sequence[Step]] = {}

    def run(self, steps: Sequence[Step]) -> Result:
        """Tries the steps in order.

        Raises:
            IngotError: The reference itself cannot be compiled or run.
        """
        reference = self._candidates.compile(self._start.name, self._start)
        accuracy = None
        if self._in_float is not None and self._subject.metric is not None:
            self._truth = self._candidates.compile("float", self._in_float)
            accuracy = self._judge(reference, self._truth)
        else:
            self._truth = reference
        leaders = [Standing(reference, {}, accuracy)]
        waiting = list(steps)
        while waiting:
            step = waiting.pop(0)
            self._tell(f"step {step.name}, {len(waiting)} after it", 0, 0)
            if found := self._try(step, leaders[-1]):
                leaders.append(found)
            waiting[:0] = self._next.pop(step.name, ())
        speed = None
        while len(leaders) > 1:
            speed, lost = self._confirm(leaders[-1], reference)
            if not lost:
                break
            self._take_back(leaders.pop(), lost)
            speed = None
        return Result(reference, leaders[-1], speed, tuple(self.trials))

    def _try(self, step: Step, best: Standing) -> Standing | None:
        """Tries one step; returns who leads with it, or None and notes why not."""
        kept = with_step(best.kept, step)
        if reason := self._why_not(step):
            self._note(step, kept, "not tried", reason)
            return None
        facts: dict[str, Any] = {}
        try:
            name = " + ".join(one.name for one in kept.values())
            candidate = self._candidates.compile(name, recipe_of(self._start, kept))
            facts["bytes"] = candidate.size
            if step.then is not None:
                self._next[step.name] = step.then(candidate.manifest.measured)
            if candidate.manifest.members == best.candidate.manifest.members:
                self._note(step, kept, "rejected", "it changes nothing", **facts)
                return None
            accuracy = self._judge(candidate, self._truth)
            facts["accuracy"] = accuracy
            if accuracy is not None and not accuracy.within:
                self._out.add(step.name)
                self._note(step, kept, "rejected", f"out of budget: {accuracy}", **facts)
                return None
            pays, reason, speed = self._pays(candidate, best.candidate)
        except IngotError as error:
            self._out.add(step.name)
            self._note(step, kept, "rejected", f"it failed: {error}", **facts)
            return None
        ratio = best.ratio * (1.0 if speed is None else speed.ratio)
        facts |= {"speed": speed, "speed_against_reference": None if speed is None else ratio}
        if accuracy is not None and accuracy.verdict == "not resolved":
            reason = f"{reason}; {accuracy.doubt}"
        self._note(step, kept, "kept" if pays else "rejected", reason, **facts)
        return Standing(candidate, kept, accuracy, ratio) if pays else None

    def _why_not(self, step: Step) -> str:
        """Why a step need not be tried, after what has been; empty where it has to be."""
        if self._rules.over:
            return "the time was used up"
        if step.gentler_than is not None and step.gentler_than not in self._out:
            return f"{step.gentler_than} is not out of budget"
        if step.harder_than in self._out:
            self._out.add(step.name)
            return f"{step.harder_than} is out already"
        if step.lossy and self._subject.metric is None:
            return "without labelled data nobody knows what it costs in accuracy: give --data"
        return ""

    def _judge(self, candidate: Candidate, truth: Candidate) -> Judgement | None:
        """What a candidate costs; None without labels, where only what costs nothing is tried."""
        metric, data = self._subject.metric, self._subject.data
        if metric is None or data is None:
            return None
        answers = [self._candidates.answers(one, metric) for one in (candidate, truth)]
        return judge(metric, answers[0], answers[1], data.labels, self._rules.budget)

    def _pays(self, candidate: Candidate, best: Candidate) -> tuple[bool, str, SpeedFound | None]:
        """Whether a candidate is better than the best, why, and how fast it is beside it."""
        if (candidate.cycles is None) != (best.cycles is None):
            on_npu = candidate.cycles is not None
            where = f"{candidate.cycles:,} estimated cycles" if on_npu else "nothing"
            return on_npu, f"{where} on the NPU, where {best.name} has its place elsewhere", None
        if self._rules.goal == "size":
            saved = 1.0 - candidate.size / best.size
            return saved >= _LEAST_SAVING, f"{saved:.1%} smaller than {best.name}", None
        speed = self._candidates.speed(candidate, best)
        if speed.low > 1.0:
            return True, _in_words(speed), speed
        if speed.low < _EQUAL or speed.high < 1.0:
            return False, _in_words(speed), speed
        gain = self._gain(candidate, best)
        if gain is None:
            return False, _in_words(speed), speed
        return True, f"as fast as {best.name}, and nearer to the reference: {gain}", speed

    def _gain(self, candidate: Candidate, best: Candidate) -> Judgement | None:
        """What a candidate is more accurate by than the best, beyond chance; None if it is not."""
        metric, data = self._subject.metric, self._subject.data
        if metric is None or data is None:
            return None
        finest = metric.finer() or metric
        answers = [self._candidates.answers(one, finest) for one in (candidate, best)]
        found = judge(finest, answers[0], answers[1], data.labels, 0.0)
        return found if found.high < 0.0 else None

    def _confirm(self, best: Standing, reference: Candidate) -> tuple[SpeedFound | None, str]:
        """Holds the result against the reference; says why it lost, if it did."""
        if (best.candidate.cycles is None) != (reference.cycles is None):
            return None, ""
        speed = self._candidates.speed(best.candidate, reference, once_more=True)
        if self._rules.goal == "size":
            slower = speed.high < 1.0
            return speed, f"slower than the reference, {_in_words(speed)}" if slower else ""
        return speed, "" if speed.low > 1.0 else f"not confirmed at the end: {_in_words(speed)}"

    def _take_back(self, lost: Standing, reason: str) -> None:
        """Notes that what was kept is not, after all."""
        names = tuple(step.name for step in lost.kept.values())
        for index, trial in enumerate(self.trials):
            if trial.decision == "kept" and trial.steps == names:
                changes = {"decision": "rejected", "reason": f"{trial.reason}; {reason}"}
                self.trials[index] = trial.model_copy(update=changes)

    def _note(self, step: Step, kept: Kept, decision: Decision, why: str, **facts: Any) -> None:
        names = tuple(one.name for one in kept.values())
        self.trials.append(
            StepTrial(name=step.name, steps=names, decision=decision, reason=why, **facts)
        )
        self._tell(f"{step.name}: {decision}, {why}", 0, 0)


def _in_words(speed: SpeedFound) -> str:
    if speed.source != "measured":
        return f"{speed.ratio:.2f}x as fast as {speed.against}, {speed.source}"
    return (
        f"{speed.ratio:.2f}x as fast as {speed.against} "
        f"(95 % interval {speed.low:.2f} to {speed.high:.2f})"
    )
