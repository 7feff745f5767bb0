"""Judging variants on the same examples: metrics in pairs, and agreement of the outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ingot import statistics
from ingot.data import Dataset, Example
from ingot.data.metrics import Metric
from ingot.errors import DataError, IngotError
from ingot.progress import Progress, no_progress
from ingot.report.process import Worker
from ingot.report.schema import Agreement, Figure, MetricFigures
from ingot.report.workers.protocol import Array


class Evaluation:
    """What one variant answered.

    Attributes:
        predictions: Per metric, a summary of each example's outputs.
        agreement: How near the outputs are to the reference's; None for the reference.
    """

    def __init__(self, predictions: list[Array], agreement: Agreement | None) -> None:
        self.predictions = predictions
        self.agreement = agreement


class _Difference:
    """Sums up how outputs differ from the reference's, without keeping them."""

    def __init__(self) -> None:
        self._signal: dict[str, float] = {}
        self._noise: dict[str, float] = {}
        self._largest = 0.0
        self._exact = True
        self._finite = True
        self._told: dict[str, bool] = {}

    def add(self, reference: dict[str, Array], outputs: dict[str, Array], name: str) -> None:
        """Adds one inference; outputs are paired by position, engines may rename them."""
        if len(reference) != len(outputs):
            raise IngotError(
                f"{name} gives {len(outputs)} outputs, the reference {len(reference)}: "
                "they cannot be compared"
            )
        for (label, expected), actual in zip(reference.items(), outputs.values(), strict=True):
            if expected.shape != actual.shape:
                raise IngotError(
                    f"output {label} of {name} has the shape {list(actual.shape)}, the "
                    f"reference's {list(expected.shape)}: they cannot be compared"
                )
            self._add_output(label, expected, actual)

    def _add_output(self, label: str, expected: Array, actual: Array) -> None:
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        known = np.isfinite(expected)
        self._told[label] = self._told.get(label, False) or bool(known.any()) or not known.size
        first, second = expected[known].astype(wide), actual[known].astype(wide)
        self._exact &= bool(np.array_equal(expected, actual, equal_nan=expected.dtype.kind in "fc"))
        self._finite &= bool(np.isfinite(second).all())
        error = np.abs(second - first)
        self._largest = max(self._largest, float(error.max(initial=0.0)))
        self._signal[label] = self._signal.get(label, 0.0) + float((np.abs(first) ** 2).sum())
        self._noise[label] = self._noise.get(label, 0.0) + float((error**2).sum())

    def finish(self, examples: int, source: str) -> Agreement:
        """The agreement over all that was added."""
        blank = next((label for label, told in self._told.items() if not told), None)
        if blank is not None or self._exact or not self._finite:
            return Agreement(
                examples=examples,
                source=source,
                exact=self._exact and blank is None,
                finite=self._finite and blank is None,
                max_abs_error=self._largest if self._finite and blank is None else None,
                sqnr_db=None,
                worst_output=None,
                blank_output=blank,
            )
        decibels = {
            label: 10.0 * math.log10(max(self._signal[label], 1e-300) / noise)
            for label, noise in self._noise.items()
            if noise > 0
        }
        worst = min(decibels, key=decibels.__getitem__, default=None)
        return Agreement(
            examples=examples,
            source=source,
            exact=False,
            finite=True,
            max_abs_error=self._largest,
            sqnr_db=None if worst is None else decibels[worst],
            worst_output=worst,
        )


def evaluate(
    workers: Sequence[Worker],
    examples: Iterable[Example],
    count: int,
    source: str,
    metrics: Sequence[Metric],
    *,
    labels: Array | None = None,
    progress: Progress = no_progress,
) -> list[Evaluation]:
    """Runs every example through every variant, the reference first.

    Args:
        workers: The loaded variants, the reference first.
        examples: Decoded one at a time.
        count: How many there are.
        source: What they are, for the report.
        metrics: What to judge by; none compares the outputs only.
        labels: The labels [examples]; needed with metrics.
        progress: Told after each example.

    Returns:
        An evaluation per worker, in order.

    Raises:
        DataError: An example is damaged or does not fit the model, or labels do not.
        IngotError: A variant failed.
    """
    predictions: list[list[list[Array]]] = [[[] for _ in metrics] for _ in workers]
    differences = [_Difference() for _ in workers]
    for index, example in enumerate(examples):
        reference: list[dict[str, Array]] = []
        for position, worker in enumerate(workers):
            outputs = [worker.evaluate(inputs) for inputs in example.inputs]
            if position == 0:
                reference = outputs
                if index == 0 and labels is not None:
                    for metric in metrics:
                        metric.check(outputs, labels)
            for expected, actual in zip(reference, outputs, strict=True):
                differences[position].add(expected, actual, worker.name)
            for metric, taken in zip(metrics, predictions[position], strict=True):
                taken.append(metric.predict(outputs, example.label))
        progress("checking the outputs", index + 1, count)
    return [
        Evaluation(
            [np.stack(taken) for taken in per_metric],
            None if position == 0 else differences[position].finish(count, source),
        )
        for position, per_metric in enumerate(predictions)
    ]


def answers(
    worker: Worker, data: Dataset, metric: Metric, progress: Progress = no_progress
) -> Array:
    """What one variant answers on all examples, as the metric makes it of the outputs.

    Returns:
        The predictions [examples, ...].

    Raises:
        DataError: An example is damaged or does not fit the model, or labels do not.
        IngotError: The variant failed.
    """
    taken = []
    for index, example in enumerate(data):
        outputs = [worker.evaluate(inputs) for inputs in example.inputs]
        if index == 0:
            metric.check(outputs, data.labels)
        taken.append(metric.predict(outputs, example.label))
        progress(f"judging {worker.name}", index + 1, len(data))
    return np.stack(taken)


def metric_figures(
    metric: Metric, predictions: Array, reference: Array | None, labels: Array
) -> MetricFigures:
    """A metric's value, and its paired difference from the reference where there is one."""
    facts: dict[str, Any] = {
        "name": metric.name,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "n": len(labels),
    }
    scores = metric.per_example(predictions, labels)
    if scores is not None:
        facts["value"] = figure(statistics.mean_estimate(scores))
    else:
        value = statistics.aggregate_estimate(metric.aggregate, predictions, labels)
        facts["value"] = figure(value)
    if reference is None:
        return MetricFigures(**facts)
    reference_scores = metric.per_example(reference, labels)
    if scores is None or reference_scores is None:
        difference = statistics.paired_aggregate_difference(
            metric.aggregate, predictions, reference, labels
        )
    else:
        difference = statistics.paired_difference(scores, reference_scores)
        if set(np.unique([scores, reference_scores])) <= {0.0, 100.0}:
            found = statistics.discordance(scores > 0, reference_scores > 0)
            facts["only_reference_right"] = found.only_reference
            facts["only_variant_right"] = found.only_variant
            facts["p_value"] = found.p_value
    same = (predictions == reference).reshape(len(labels), -1).all(axis=1)
    return MetricFigures(**facts, difference=figure(difference), identical=int(same.sum()))


def choose_metrics(
    wanted: Sequence[Metric] | None, dataset: Dataset | None
) -> tuple[tuple[Metric, ...], Array | None]:
    """The metrics to judge by, with the labels they need.

    A metric that the data set brings itself, of the same name, is taken instead of the one that
    was asked for: it knows how the model's outputs are pooled.

    Raises:
        DataError: Metrics were asked for, and there are no labels.
    """
    if dataset is None:
        if wanted:
            raise DataError(f"the metric {wanted[0].name} needs labelled data: give it with --data")
        return (), None
    if not dataset.labelled:
        if wanted:
            _ = dataset.labels
        return (), None
    own = {metric.name: metric for metric in dataset.metrics}
    chosen = dataset.metrics if wanted is None else [own.get(m.name, m) for m in wanted]
    return tuple(chosen), dataset.labels


def figure(estimate: statistics.Estimate) -> Figure:
    """An estimate as the report holds it."""
    return Figure(value=estimate.value, low=estimate.low, high=estimate.high)
