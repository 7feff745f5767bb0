"""What a tournament keeps, from candidates whose figures are given."""

from __future__ import annotations

import time
import types

import numpy as np
import pytest

from ingot.compiler.optimization_record import SpeedFound
from ingot.compiler.recipe import Recipe
from ingot.data.metrics import Top1
from ingot.errors import CompilationError
from ingot.optimization.steps import Step
from ingot.optimization.tournament import Rules, Tournament
from ingot.progress import no_progress

EXAMPLES = 200
LABELS = np.zeros(EXAMPLES, dtype=np.int64)


class Given:
    """Stands for what compiles and measures: each recipe's time, bytes and wrong answers.

    A recipe is known by the names of its steps, which are its passes here.
    """

    def __init__(self, facts, *, noise=0.01, final=None):
        self.facts, self.noise, self.final = facts, noise, final or {}
        self.compiled = []

    def compile(self, name, recipe):
        steps = tuple(spec.name for spec in recipe.passes)
        self.compiled.append(steps)
        if self.facts[steps] is None:
            raise CompilationError("no code for this")
        milliseconds, size, wrong, *cycles = self.facts[steps]
        manifest = types.SimpleNamespace(members={"lib.so": steps}, measured={"of": steps})
        return types.SimpleNamespace(
            name=name or "reference", steps=steps, milliseconds=milliseconds, size=size,
            wrong=wrong, cycles=cycles[0] if cycles else None, manifest=manifest, path=None,
        )  # fmt: skip

    def answers(self, candidate, metric):
        if metric.name != "top-1":
            return np.full(EXAMPLES, 0.9 - candidate.wrong / EXAMPLES)
        answers = np.zeros((EXAMPLES, 1), dtype=np.int64)
        answers[: candidate.wrong] = 1
        return answers

    def speed(self, candidate, other, *, once_more=False):
        ratio = other.milliseconds / candidate.milliseconds
        if once_more:
            ratio = self.final.get(candidate.steps, ratio)
        return SpeedFound(
            against=other.name, ratio=ratio, low=ratio * (1 - self.noise),
            high=ratio * (1 + self.noise), source="measured", milliseconds=candidate.milliseconds,
        )  # fmt: skip


def step(name, slot=None, **facts):
    def apply(recipe):
        return recipe.model_copy(
            update={"passes": (*recipe.passes, types.SimpleNamespace(name=name))}
        )

    return Step(name, slot or name, apply, **facts)


def run(
    facts,
    steps,
    *,
    goal="latency",
    budget=0.5,
    deadline=None,
    labelled=True,
    in_float=None,
    **given,
):
    candidates = Given(facts, **given)
    data = types.SimpleNamespace(labels=LABELS) if labelled else None
    subject = types.SimpleNamespace(metric=Top1() if labelled else None, data=data)
    start = Recipe(name="start", passes=())
    rules = Rules(goal, budget, deadline)
    result = Tournament(start, candidates, subject, rules, no_progress, in_float).run(steps)
    return result, {trial.name: trial for trial in result.trials}, candidates


def kept(result):
    return tuple(one.name for one in result.best.kept.values())


def test_what_is_faster_within_the_budget_is_kept_and_built_upon():
    facts = {
        (): (10.0, 100, 0),
        ("int8",): (5.0, 30, 1),
        ("int8", "prune"): (4.0, 27, 1),
    }
    result, trials, _ = run(facts, [step("int8"), step("prune")])
    assert kept(result) == ("int8", "prune")
    assert trials["prune"].steps == ("int8", "prune")
    assert trials["prune"].speed_against_reference == pytest.approx(2.5)
    assert result.speed.ratio == pytest.approx(2.5)
    assert result.best.accuracy.loss == pytest.approx(0.5)


def test_faster_within_the_noise_is_not_faster():
    facts = {(): (10.0, 100, 0), ("same",): (9.8, 100, 0)}
    result, trials, _ = run(facts, [step("same")], noise=0.05)
    assert kept(result) == ()
    assert trials["same"].decision == "rejected"
    assert "1.02x as fast as start" in trials["same"].reason
    assert result.speed is None


def test_what_breaks_the_budget_is_rejected_and_never_timed():
    facts = {(): (10.0, 100, 0), ("int8",): (1.0, 30, 10)}
    result, trials, _ = run(facts, [step("int8")])
    assert kept(result) == ()
    assert trials["int8"].speed is None
    assert trials["int8"].accuracy.loss == pytest.approx(5.0)
    assert trials["int8"].accuracy.verdict == "broken"


def test_the_milder_form_is_tried_only_where_the_stronger_one_is_out_of_budget():
    steps = [step("int8", "precision"), step("mixed", "precision", gentler_than="int8")]
    within = {(): (10.0, 100, 0), ("int8",): (5.0, 30, 0)}
    _, trials, _ = run(within, steps)
    assert trials["mixed"].decision == "not tried"
    out = {(): (10.0, 100, 0), ("int8",): (5.0, 30, 10), ("mixed",): (6.0, 40, 0)}
    result, _, _ = run(out, steps)
    assert kept(result) == ("mixed",)


def test_stronger_forms_of_what_is_out_of_budget_are_not_compiled():
    facts = {(): (10.0, 100, 0), ("10",): (9.0, 90, 10)}
    chain = [
        step("10", "prune"),
        step("20", "prune", harder_than="10"),
        step("30", "prune", harder_than="20"),
    ]
    _, trials, given = run(facts, chain)
    assert given.compiled == [(), ("10",)]
    assert [trials[name].decision for name in ("20", "30")] == ["not tried"] * 2


def test_a_stronger_form_takes_the_place_of_the_milder_one():
    facts = {(): (10.0, 100, 0), ("10",): (9.0, 90, 0), ("20",): (8.0, 80, 0)}
    chain = [step("10", "prune"), step("20", "prune", harder_than="10")]
    result, _, _ = run(facts, chain)
    assert kept(result) == ("20",)


def test_what_cannot_be_compiled_is_rejected_with_the_reason():
    facts = {(): (10.0, 100, 0), ("odd",): None, ("int8",): (5.0, 30, 0)}
    result, trials, _ = run(facts, [step("odd"), step("int8")])
    assert kept(result) == ("int8",)
    assert trials["odd"].reason == "it failed: no code for this"


def test_what_is_not_confirmed_at_the_end_is_taken_back():
    facts = {(): (10.0, 100, 0), ("a",): (5.0, 100, 0), ("a", "b"): (4.0, 100, 0)}
    result, trials, _ = run(facts, [step("a"), step("b")], final={("a", "b"): 0.9})
    assert kept(result) == ("a",)
    assert "not confirmed at the end" in trials["b"].reason
    assert trials["a"].decision == "kept"


def test_a_single_step_has_to_win_twice():
    facts = {(): (10.0, 100, 0), ("a",): (9.0, 100, 0)}
    result, trials, _ = run(facts, [step("a")], final={("a",): 0.98})
    assert kept(result) == () and result.speed is None
    assert "not confirmed at the end" in trials["a"].reason


def test_nothing_is_begun_once_the_time_is_used_up():
    facts = {(): (10.0, 100, 0)}
    result, trials, _ = run(facts, [step("int8")], deadline=time.monotonic() - 1)
    assert kept(result) == ()
    assert trials["int8"].reason == "the time was used up"


def test_without_labels_only_what_costs_no_accuracy_is_tried():
    facts = {(): (10.0, 100, 0), ("fusion",): (5.0, 100, 0)}
    steps = [step("fusion", lossy=False), step("int8")]
    result, trials, _ = run(facts, steps, labelled=False)
    assert kept(result) == ("fusion",)
    assert "without labelled data" in trials["int8"].reason


def test_the_smaller_one_wins_where_size_is_the_goal_unless_it_is_slower():
    facts = {(): (10.0, 100, 0), ("small",): (10.0, 50, 0)}
    result, _, _ = run(facts, [step("small")], goal="size")
    assert kept(result) == ("small",)
    result, trials, _ = run({**facts, ("small",): (20.0, 50, 0)}, [step("small")], goal="size")
    assert kept(result) == ()
    assert "slower than the reference" in trials["small"].reason


def test_on_an_npu_what_it_computes_beats_what_it_leaves():
    facts = {
        (): (10.0, 100, 0),
        ("int8",): (5.0, 30, 0, 4000),
        ("int8", "prune"): (4.0, 30, 0, 3000),
    }
    result, trials, _ = run(facts, [step("int8"), step("prune")])
    assert kept(result) == ("int8", "prune")
    assert trials["int8"].speed is None
    assert "4,000 estimated cycles on the NPU" in trials["int8"].reason


def test_what_is_as_fast_and_more_accurate_takes_the_place_of_the_best():
    facts = {(): (10.0, 100, 0), ("int8",): (5.0, 30, 1), ("mixed",): (5.0, 40, 0)}
    steps = [step("int8", "precision"), step("mixed", "precision")]
    result, trials, _ = run(facts, steps)
    assert kept(result) == ("mixed",)
    assert "as fast as int8, and nearer to the reference" in trials["mixed"].reason


def test_what_is_more_accurate_and_slower_does_not():
    facts = {(): (10.0, 100, 0), ("int8",): (5.0, 30, 1), ("mixed",): (6.0, 40, 0)}
    result, _, _ = run(facts, [step("int8", "precision"), step("mixed", "precision")])
    assert kept(result) == ("int8",)


def test_steps_that_follow_from_another_come_right_after_it():
    facts = {
        (): (10.0, 100, 0),
        ("int8",): (5.0, 30, 10),
        ("mixed",): (6.0, 40, 0),
        ("mixed", "prune"): (5.0, 35, 0),
    }

    def then(measured):
        assert measured == {"of": ("int8",)}
        return [step("mixed", "precision", gentler_than="int8")]

    result, trials, _ = run(facts, [step("int8", "precision", then=then), step("prune")])
    assert list(trials) == ["int8", "mixed", "prune"]
    assert kept(result) == ("mixed", "prune")


def test_where_the_reference_is_in_8_bits_accuracy_is_that_against_float():
    facts = {
        (): (10.0, 100, 3, 4000),
        ("float",): (50.0, 400, 0),
        ("prune",): (9.0, 90, 4, 3000),
    }
    in_float = step("float").apply(Recipe(name="float", passes=()))
    result, trials, _ = run(facts, [step("prune")], budget=1.7, in_float=in_float)
    assert kept(result) == ()
    assert result.best.accuracy.loss == pytest.approx(1.5)
    assert trials["prune"].accuracy.loss == pytest.approx(2.0)
