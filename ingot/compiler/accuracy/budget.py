"""Accuracy on a budget: as few layers in float as it takes, the cheapest noise first.

Layers are taken in the order of the noise that they alone make in the outputs, per multiply-add:
the time that a layer costs in float over integers grows with these. Noise of layers adds up nearly
independently, so the loss falls with each layer taken, and the fewest that hold the budget are
found by halving. Each try is judged by the metric on labelled data, on the very graph that is
compiled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from ingot.compiler.accuracy.evaluation import measure_accuracy
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.compiler.accuracy.sensitivity import Samples, layer_noise, measure_sensitivity
from ingot.data import Dataset
from ingot.data.metrics import Metric
from ingot.errors import DataError, VerificationError
from ingot.passes.quantization.restoration import restore_float
from ingot.progress import Progress, no_progress


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
    facts: dict[str, Any]


def hold_budget(
    model: ir.Model,
    float_model: ir.Model,
    data: Dataset,
    budget: float,
    samples: Samples,
    *,
    metric: Metric | None = None,
    progress: Progress = no_progress,
    measure: Callable[[ir.Model], float] | None = None,
) -> BudgetOutcome:
    """Keeps layers in float until the metric loses no more than the budget.

    Args:
        model: The QDQ model; not changed.
        float_model: The model before it was quantized.
        data: Labelled data.
        budget: The largest loss, in the metric's unit.
        samples: Real inputs to measure sensitivity on.
        metric: What to judge by; by default the data's own first metric.
        progress: Told of each layer whose sensitivity is measured, and of each graph that is tried.
        measure: Judges a model instead of the metric on the data.

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
    trials = _Trials(
        model,
        float_model,
        measure or (lambda candidate: measure_accuracy(candidate, data, chosen)),
        1.0 if chosen.higher_is_better else -1.0,
        budget,
        progress,
    )
    if trials.holds(0):
        # Which layers to keep in float is no question, and answering it takes a while.
        layers = layer_noise(model, float_model, samples)
    else:
        layers = measure_sensitivity(model, float_model, samples, progress=progress)
        worst_first = sorted(layers, key=_noise_per_cost, reverse=True)
        trials.order += [layer.name for layer in worst_first]
    order, values = trials.order, trials.values
    count = _fewest(len(order), trials.holds)
    if count is None:
        raise VerificationError(
            f"the accuracy budget of {budget:g} does not hold even with all layers in float, "
            f"{values[len(order)]:g} against {trials.target:g}; give more data or a larger budget"
        )
    kept = frozenset(order[:count])
    final = [
        layer.model_copy(update={"precision": "fp32" if layer.name in kept else "int8"})
        for layer in layers
    ]
    facts = {
        "budget": budget,
        "metric": chosen.name,
        "unit": chosen.unit,
        "examples": len(data),
        "reference": trials.target,
        "quantized": values[0],
        "result": values[count],
        "kept_in_float": order[:count],
        "tried": {str(tried): value for tried, value in sorted(values.items())},
    }
    return BudgetOutcome(restore_float(model, float_model, kept), final, facts)


class _Trials:
    """What the metric says with more or fewer layers in float.

    Attributes:
        order: The layers, in the order in which they return to float.
        target: The metric in float.
        values: The metric by the number of layers in float, for each that was tried.
    """

    def __init__(
        self,
        model: ir.Model,
        float_model: ir.Model,
        judge: Callable[[ir.Model], float],
        sign: float,
        budget: float,
        progress: Progress,
    ) -> None:
        self._model, self._float_model = model, float_model
        self._judge, self._sign, self._budget, self._progress = judge, sign, budget, progress
        self.order: list[str] = []
        self.values: dict[int, float] = {}
        progress("measuring accuracy in float", 0, 0)
        self.target = judge(float_model)

    def holds(self, count: int) -> bool:
        """Whether the budget holds with so many layers in float."""
        if count not in self.values:
            where = f"with {count} layers in float" if count else "in 8 bits"
            self._progress(f"measuring accuracy {where}", 0, 0)
            kept = self.order[:count]
            candidate = restore_float(self._model, self._float_model, kept) if kept else self._model
            self.values[count] = self._judge(candidate)
        return self._sign * (self.target - self.values[count]) <= self._budget + 1e-9


def _noise_per_cost(layer: LayerSensitivity) -> float:
    assert layer.output_sqnr_db is not None
    return float(10.0 ** (-layer.output_sqnr_db / 10.0)) / max(layer.multiply_adds, 1)


def _fewest(most: int, holds: Callable[[int], bool]) -> int | None:
    """The least count that holds; None if not even the largest does. Grows, then halves."""
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
