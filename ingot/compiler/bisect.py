"""Finds the pass that breaks a model, by halving.

The first ``k`` passes of a pipeline make a prefix, which is good or bad: its outputs are within a
tolerance of the original model's, or its accuracy is at or above a floor. Halving assumes that once
a prefix is bad, all longer ones are. Where a later pass repairs what an earlier one broke, the pass
that is found still turns a good prefix into a bad one, but it need not be the first that does.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import onnx_ir as ir
import pydantic

from ingot.compiler.comparison import compare_values
from ingot.compiler.verification import ReferenceCheck
from ingot.errors import IngotError, UsageError, VerificationError
from ingot.passes.base import (
    FLOAT_ROUNDING,
    LOSSY,
    Tolerance,
    ToleranceKind,
    pass_name,
    pass_tolerance,
)
from ingot.passes.difference import GraphState, NodeState, compare_graphs
from ingot.passes.manager import PassManager
from ingot.reference.session import Reference, Value

Inputs = Mapping[str, Value]


class BisectStep(pydantic.BaseModel):
    """One prefix that was tried.

    Attributes:
        passes: How many passes it has.
        last: The name of its last pass; empty for none.
        good: Whether it is good.
        measured: The largest relative error of an output, or the accuracy; None when a pass
            failed.
        detail: Why it is bad, or empty.
        seconds: Time of running and judging it.
    """

    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")

    passes: int
    last: str
    good: bool
    measured: float | None
    detail: str
    seconds: float


class TouchedNode(pydantic.BaseModel):
    """A node that the guilty pass removed, added or changed.

    Attributes:
        change: What became of it.
        name: Its name.
        operator: Its operator; ``Old → New`` where that changed.
        inputs: Names of its inputs, after the change; empty for one that is left out.
        outputs: Names of its outputs.
    """

    change: Literal["removed", "added", "changed"]
    name: str
    operator: str
    inputs: list[str]
    outputs: list[str]


class FirstTensor(pydantic.BaseModel):
    """The first tensor, in the order of execution, that the guilty pass made differ."""

    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")

    name: str
    max_abs_error: float
    max_rel_error: float
    detail: str


class BisectReport(pydantic.BaseModel):
    """What bisecting found.

    Attributes:
        criterion: What makes a prefix good, in words.
        guilty: The pass that breaks the model; None when nothing breaks it.
        index: Its place among the passes, from 0.
        failure: What the pass raised, if that is what breaks the model.
        first_tensor: The first tensor that it made differ; None where none differs.
        nodes: What it removed, added and changed.
        evaluations: How many prefixes were run.
        steps: Each of them, in the order of trying.
    """

    criterion: str
    guilty: str | None = None
    index: int | None = None
    failure: str = ""
    first_tensor: FirstTensor | None = None
    nodes: list[TouchedNode] = []
    evaluations: int = 0
    steps: list[BisectStep] = []


@dataclasses.dataclass(frozen=True)
class _Verdict:
    good: bool
    measured: float | None
    detail: str = ""


# Judges what so many first passes made.
_Judge = Callable[[ir.Model, int], _Verdict]


def bisect(
    model: ir.Model,
    passes: Sequence[ir.passes.PassBase],
    *,
    inputs: Sequence[Inputs],
    tolerance: Tolerance = FLOAT_ROUNDING,
    strict: bool = False,
    accuracy: Callable[[ir.Model], float] | None = None,
    floor: float | None = None,
    dump_dir: Path | None = None,
    on_step: Callable[[BisectStep], None] | None = None,
) -> BisectReport:
    """Finds the pass that first breaks the tolerance, or the accuracy.

    Runs about ``log2(len(passes)) + 2`` prefixes, each from the given model.

    Args:
        model: The model that the pipeline starts from; not changed.
        passes: The pipeline.
        inputs: Reference inputs, one mapping of input name to array per run.
        tolerance: How far outputs may be from the given model's; not used with ``accuracy``.
        strict: Whether that holds for passes that change results by intent, too. Otherwise these
            are held to finite outputs, as they declare, and passes behind one to what it made.
        accuracy: Measures a model, higher is better; makes accuracy the criterion.
        floor: The lowest good accuracy.
        dump_dir: Where to write the models before and after the guilty pass.
        on_step: Called after each prefix.

    Raises:
        UsageError: Only one of ``accuracy`` and ``floor`` is given.
        VerificationError: The model is bad before any pass runs, so no pass is to blame.
    """
    if (accuracy is None) != (floor is None):
        raise UsageError("bisecting by accuracy takes both the measure and the floor")
    judge: _Judge
    if accuracy is not None and floor is not None:
        judge, criterion = _by_accuracy(accuracy, floor), f"accuracy of at least {floor:g}"
    else:
        judge = _ByTolerance(model, passes, inputs, tolerance, strict=strict)
        criterion = (
            f"outputs within {tolerance.rtol:g} of their magnitude + {tolerance.atol:g}"
            f" ({tolerance.kind.value}){judge.exception}"
        )
    search = _Search(model, passes, judge, on_step)
    report = BisectReport(criterion=criterion)
    index = search.first_bad()
    report.steps, report.evaluations = search.steps, len(search.steps)
    if index is not None:
        report.guilty, report.index = pass_name(passes[index]), index
        own = LOSSY if not strict and _is_lossy(passes[index]) else tolerance
        _blame(report, model, passes, inputs, own, dump_dir)
    return report


class _Search:
    def __init__(
        self,
        model: ir.Model,
        passes: Sequence[ir.passes.PassBase],
        judge: _Judge,
        on_step: Callable[[BisectStep], None] | None,
    ) -> None:
        self._model = model
        self._passes = passes
        self._judge = judge
        self._on_step = on_step
        self.steps: list[BisectStep] = []

    def first_bad(self) -> int | None:
        """The index of the pass that turns a good prefix into a bad one; None if all are good."""
        start = self._try(0)
        if not start.good:
            raise VerificationError(
                f"the model is bad before any pass runs ({start.detail}); there is no pass to blame"
            )
        if not self._passes or self._try(len(self._passes)).good:
            return None
        good, bad = 0, len(self._passes)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._try(middle).good:
                good = middle
            else:
                bad = middle
        return bad - 1

    def _try(self, count: int) -> BisectStep:
        started = time.perf_counter()
        try:
            run = PassManager(self._passes[:count]).run(self._model.clone())
            verdict = self._judge(run.model, count)
        except IngotError as error:
            verdict = _Verdict(False, None, str(error))
        step = BisectStep(
            passes=count,
            last=pass_name(self._passes[count - 1]) if count else "",
            good=verdict.good,
            measured=verdict.measured,
            detail=verdict.detail,
            seconds=time.perf_counter() - started,
        )
        self.steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
        return step


def _is_lossy(pass_: ir.passes.PassBase) -> bool:
    return pass_tolerance(pass_).kind is ToleranceKind.LOSSY


class _ByTolerance:
    """Judges prefixes by their outputs on inputs.

    A pass that is lossy by intent is held to what it declares, on what came before it; passes
    behind it are compared with what it made.
    """

    def __init__(
        self,
        model: ir.Model,
        passes: Sequence[ir.passes.PassBase],
        inputs: Sequence[Inputs],
        tolerance: Tolerance,
        *,
        strict: bool,
    ) -> None:
        if not inputs:
            raise UsageError("bisecting by tolerance takes at least one set of inputs")
        self._model, self._passes, self._inputs = model, passes, inputs
        self._tolerance = tolerance
        # How many passes there are up to each lossy one.
        self._lossy = [] if strict else [n for n, p in enumerate(passes, 1) if _is_lossy(p)]
        self._outputs: dict[int, list[dict[str, Value]]] = {0: self._run(model)}
        self._verdicts: dict[int, _Verdict] = {}

    @property
    def exception(self) -> str:
        """What is held to something else, for the criterion."""
        return ", of lossy passes finite ones" if self._lossy else ""

    def __call__(self, candidate: ir.Model, count: int) -> _Verdict:
        if count not in self._verdicts:
            if count not in self._outputs:
                self._outputs[count] = self._run(candidate)
            self._verdicts[count] = self._judge(count)
        return self._verdicts[count]

    def _judge(self, count: int) -> _Verdict:
        base = max((n for n in self._lossy if n < count), default=0)
        if count in self._lossy:
            base, tolerance = count - 1, LOSSY
        else:
            tolerance = self._tolerance
        if base and not (earlier := self._prefix(base)).good:
            return earlier
        differences = [
            difference
            for before, after in zip(self._outputs[base], self._outputs[count], strict=True)
            for name, value in before.items()
            for difference in compare_values(name, value, after[name])
        ]
        worst = max(differences, key=lambda difference: difference.max_rel_error)
        bad = next((one for one in differences if not one.within(tolerance)), None)
        return _Verdict(bad is None, worst.max_rel_error, "" if bad is None else str(bad))

    def _prefix(self, count: int) -> _Verdict:
        if count not in self._verdicts:
            made = PassManager(self._passes[:count]).run(self._model.clone()).model
            return self(made, count)
        return self._verdicts[count]

    def _run(self, model: ir.Model) -> list[dict[str, Value]]:
        reference = Reference(model)
        return [reference.run(one) for one in self._inputs]


def _by_accuracy(accuracy: Callable[[ir.Model], float], floor: float) -> _Judge:
    def judge(candidate: ir.Model, count: int) -> _Verdict:
        del count
        measured = float(accuracy(candidate))
        good = measured >= floor and not math.isnan(measured)
        return _Verdict(good, measured, "" if good else f"accuracy {measured:g} is below {floor:g}")

    return judge


def _blame(
    report: BisectReport,
    model: ir.Model,
    passes: Sequence[ir.passes.PassBase],
    inputs: Sequence[Inputs],
    tolerance: Tolerance,
    dump_dir: Path | None,
) -> None:
    """Runs the guilty pass once more, on what came before it, and notes what it does."""
    assert report.index is not None
    before = PassManager(passes[: report.index]).run(model.clone()).model
    try:
        manager = PassManager([passes[report.index]], dump_dir=dump_dir)
        after = manager.run(before.clone()).model
    except IngotError as error:
        report.failure = str(error)
        return
    report.nodes = list(_touched(GraphState.capture(before), GraphState.capture(after)))
    if not inputs:
        return
    check = ReferenceCheck(inputs)
    # A pass can be the one that exceeds the tolerance and yet, alone, stay within it.
    for reference in (before, model):
        try:
            first = check.first_difference(reference, after, tolerance)
        except VerificationError:
            continue
        report.first_tensor = FirstTensor(
            name=first.tensor,
            max_abs_error=first.max_abs_error,
            max_rel_error=first.max_rel_error,
            detail=first.detail,
        )
        return


def _touched(before: GraphState, after: GraphState) -> Iterator[TouchedNode]:
    difference = compare_graphs(before, after)
    for name in difference.removed:
        yield _node("removed", name, before.nodes[name])
    for name in difference.added:
        yield _node("added", name, after.nodes[name])
    for name in difference.changed:
        was, now = _operator(before.nodes[name]), _operator(after.nodes[name])
        node = _node("changed", name, after.nodes[name])
        yield node if was == now else node.model_copy(update={"operator": f"{was} → {now}"})


def _operator(state: NodeState) -> str:
    domain, op_type, _ = state.operator
    return f"{domain}::{op_type}" if domain else op_type


def _node(
    change: Literal["removed", "added", "changed"], name: str, state: NodeState
) -> TouchedNode:
    return TouchedNode(
        change=change,
        name=name,
        operator=_operator(state),
        inputs=[value or "" for value in state.inputs],
        outputs=[value or "" for value in state.outputs],
    )
