"""Whether a loss of accuracy is within a budget, as far as the data can tell."""

from __future__ import annotations

from ingot import statistics
from ingot.compiler.accuracy.judgement import Judgement
from ingot.data.base import Array
from ingot.data.metrics import Metric


def judge(
    metric: Metric, answers: Array, reference: Array, labels: Array, budget: float
) -> Judgement:
    """Compares what a model answered with what a reference did.

    Args:
        metric: What to judge by.
        answers: The model's predictions [examples, ...], as the metric makes them.
        reference: The reference's, on the same examples.
        labels: The labels [examples].
        budget: The largest loss that is allowed, in the metric's unit.
    """
    scores = metric.per_example(answers, labels)
    reference_scores = metric.per_example(reference, labels)
    if scores is None or reference_scores is None:
        gain = statistics.paired_aggregate_difference(metric.aggregate, answers, reference, labels)
    else:
        gain = statistics.paired_difference(scores, reference_scores)
    if not metric.higher_is_better:
        gain = statistics.Estimate(-gain.value, -gain.high, -gain.low)
    return Judgement(
        metric=metric.name,
        unit=metric.unit,
        examples=len(labels),
        reference=metric.aggregate(reference, labels),
        value=metric.aggregate(answers, labels),
        loss=0.0 - gain.value,
        low=0.0 - gain.high,
        high=0.0 - gain.low,
        budget=budget,
    )
