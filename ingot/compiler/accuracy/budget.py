"""Accuracy on a budget: as few layers in float as it takes, the noisiest first.

Layers are taken in the order of the noise that they alone make in the outputs. Noise of layers adds
up nearly independently, so that little of it is left after few layers. Each try is judged on
labelled data, on the very graph that is compiled, in pairs with the float model: the budget holds
where the whole 95 % interval of the loss is within it, and is broken where the whole interval is
beyond. In between the data cannot tell, and a step of one example up or down would decide: there a
finer metric does, of which smaller differences can be told (``Metric.finer``).

What is taken is always a count that was tried and held. The search grows the count and then halves
the gap, which finds the fewest where more layers in float never lose more; where chance makes a
count fail that a smaller one held, the smaller one is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import onnx_ir as ir

from ingot.compiler.accuracy.budget_record import BudgetFacts
from ingot.compiler.accuracy.evaluation import predictions
from ingot.compiler.accuracy.judgement import Judgement
from ingot.compiler.accuracy.judging import judge
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.compiler.accuracy.sensitivity import Samples, layer_noise, measure_sensitivity
from ingot.data import Dataset
from ingot.data.base import Array
from ingot.data.metrics import Metric
from ingot.errors import DataError, VerificationError
from ingot.passes.quantization.restoration import restore_float
from ingot.progress import Progress, no_progress

Answer = Callable[[ir.Model], Sequence[Array]]
"""What a model answers on the data: the predictions of each metric."""


@dataclasses.dataclass(frozen=True)
class BudgetOutcome:
    """A quantized model that holds its budget.

    Attributes:
        model: The model.
        layers: All quantized layers with their sensitivities and final precision, in order.
        facts: What the manifest keeps.
    """

    model: ir.Model
    layers: Sequence[LayerSensitivity]
    facts: BudgetFacts


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a number of layers in float costs.

    Attributes:
        judgement: By the metric.
        finer: By the finer metric; None where there is none.
    """

    judgement: Judgement
    finer: Judgement | None = None

    @property
    def undecided(self) -> bool:
        """Whether the metric's interval leaves it open."""
        return self.judgement.verdict == "not resolved"

    @property
    def holds(self) -> bool:
        """Whether the budget holds, as far as can be told."""
        if not self.undecided:
            return self.judgement.verdict == "held"
        return (self.finer or self.judgement).within


def hold_budget(
    model: ir.Model,
    float_model: ir.Model,
    data: Dataset,
    budget: float,
    samples: Samples,
    *,
    metric: Metric | None = None,
    progress: Progress = no_progress,
    answer: Answer | None = None,
) -> BudgetOutcome:
    """Keeps layers in float until no more is lost than the budget, as far as the data can tell.

    Args:
        model: The QDQ model; not changed.
        float_model: The model before it was quantized.
        data: Labelled data.
        budget: The largest loss, in the metric's unit.
        samples: Real inputs to measure sensitivity on.
        metric: What to judge by; by default the data's own first metric.
        progress: Told of each layer whose sensitivity is measured, and of each graph that is tried.
        answer: Answers instead of ONNX Runtime on the data: for the metric, and for the finer one
            where there is one.

    Raises:
        DataError: The data has no labels or no metric.
        VerificationError: Even with all layers in float the budget is not held.
    """
    chosen = metric or next(iter(data.metrics), None)
    if chosen is None:
        raise DataError(
            f"{data.description} carries no labels, and an accuracy budget is held on labelled "
            "data: give it with --data"
        )
    finer = chosen.finer()
    metrics = [chosen] if finer is None else [chosen, finer]
    search = _Search(
        model,
        float_model,
        metrics,
        data.labels,
        budget,
        answer or (lambda candidate: predictions(candidate, data, metrics)),
        progress,
    )
    if search.holds(0):
        # Which layers to keep in float is no question, and answering it takes a while.
        layers = layer_noise(model, float_model, samples)
    else:
        layers = measure_sensitivity(model, float_model, samples, progress=progress)
        search.order += [layer.name for layer in sorted(layers, key=_output_sqnr)]
    count = _fewest(len(search.order), search.holds)
    if count is None:
        trial = search.tried[len(search.order)]
        raise VerificationError(
            f"the accuracy budget of {budget:g} does not hold even with all layers in float, "
            f"{trial.judgement.value:g} against {trial.judgement.reference:g}; give more data or "
            "a larger budget"
        )
    kept = frozenset(search.order[:count])
    final = [
        layer.model_copy(update={"precision": "fp32" if layer.name in kept else "int8"})
        for layer in layers
    ]
    return BudgetOutcome(
        restore_float(model, float_model, kept), final, search.facts(count, len(data))
    )


class _Search:
    """What more or fewer layers in float cost.

    Attributes:
        order: The layers, in the order in which they return to float.
        tried: What was found, by the number of layers in float.
    """

    def __init__(
        self,
        model: ir.Model,
        float_model: ir.Model,
        metrics: Sequence[Metric],
        labels: Array,
        budget: float,
        answer: Answer,
        progress: Progress,
    ) -> None:
        self._model, self._float_model = model, float_model
        self._metrics, self._labels, self._budget = metrics, labels, budget
        self._answer, self._progress = answer, progress
        self.order: list[str] = []
        self.tried: dict[int, Trial] = {}
        progress("measuring accuracy in float", 0, 0)
        self._expected = answer(float_model)

    def holds(self, count: int) -> bool:
        """Whether the budget holds with so many layers in float."""
        if count not in self.tried:
            where = f"with {count} layers in float" if count else "in 8 bits"
            self._progress(f"measuring accuracy {where}", 0, 0)
            kept = self.order[:count]
            candidate = restore_float(self._model, self._float_model, kept) if kept else self._model
            self.tried[count] = Trial(*self._judge(self._answer(candidate)))
        return self.tried[count].holds

    def _judge(self, answers: Sequence[Array]) -> list[Judgement]:
        return [
            judge(metric, found, expected, self._labels, self._budget)
            for metric, found, expected in zip(self._metrics, answers, self._expected, strict=True)
        ]

    def facts(self, count: int, examples: int) -> BudgetFacts:
        """What is to be told of the outcome."""
        found = self.tried[count]
        return BudgetFacts(
            budget=self._budget,
            metric=found.judgement.metric,
            unit=found.judgement.unit,
            examples=examples,
            reference=found.judgement.reference,
            quantized=self.tried[0].judgement.value,
            result=found.judgement.value,
            kept_in_float=tuple(self.order[:count]),
            tried={str(n): trial.judgement.value for n, trial in sorted(self.tried.items())},
            judgement=found.judgement,
            finer=found.finer if found.undecided else None,
        )


def _output_sqnr(layer: LayerSensitivity) -> float:
    assert layer.output_sqnr_db is not None
    return layer.output_sqnr_db


def _fewest(most: int, holds: Callable[[int], bool]) -> int | None:
    """The least count found that holds; None if not even the largest does. Grows, then halves."""
    if holds(0):
        return 0
    bad, good = 0, 1
    while good < most and not holds(good):
        bad, good = good, min(2 * good, most)
    if good >= most:
        good = most
        if not holds(most):
            return None
    while good - bad > 1:
        middle = (good + bad) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return good
