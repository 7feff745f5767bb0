"""Thresholds for build pipelines: ``--fail-on "latency>1.1x"``, ``--fail-on "accuracy<-0.5"``.

A rule is a quantity, a comparison and a number, and says what fails:

- ``latency``, ``p95``, ``p99``, ``memory``, ``size``, ``throughput``: the variant's figure divided
  by the reference's; the number ends in ``x``.
- ``accuracy`` (the first metric), or a metric by its name (``top1``, ``spearman``, …): the paired
  difference variant - reference in the metric's own unit, negative where the variant is worse.

A rule is applied to every variant that Ingot made. The point estimate decides, so that a rule gives
the same answer whatever the number of runs; the interval is shown beside it. What cannot be told
(too few runs for p99) fails. Budgets in absolute numbers are a file's: :mod:`ingot.report.budgets`.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ingot.errors import UsageError
from ingot.report.quantities import Measured, find_metric, gain, plain
from ingot.report.schema import Check, MetricFigures, NpuVariant, VariantReport
from ingot.report.verdict import ratio, signed
from ingot.statistics import runs_needed

_RULE = re.compile(r"\s*([A-Za-z0-9_.-]+?)\s*(<=|>=|<|>)\s*([+-]?\d+(?:\.\d+)?)\s*(x?)\s*")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
RATIOS = ("latency", "p95", "p99", "memory", "size", "throughput")
_FORMS = (
    'write a quantity, a comparison and a number: "latency>1.1x" '
    f'({", ".join(RATIOS)}, as a ratio to the reference) or "accuracy<-0.5" '
    "(accuracy or a metric's name, as a difference from the reference)"
)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A parsed rule.

    Attributes:
        rule: As the user wrote it.
        quantity: One of ``RATIOS``, ``accuracy``, or a metric's plain name.
        comparison: ``<``, ``<=``, ``>`` or ``>=``; what it holds for fails.
        limit: The number.
    """

    rule: str
    quantity: str
    comparison: str
    limit: float

    @property
    def is_ratio(self) -> bool:
        """Whether the quantity is a ratio to the reference and not a difference."""
        return self.quantity in RATIOS


class _Found(NamedTuple):
    value: float | None
    low: float | None = None
    high: float | None = None


def parse_threshold(rule: str) -> Threshold:
    """Parses a rule.

    Raises:
        UsageError: The rule is malformed; says what is possible.
    """
    match = _RULE.fullmatch(rule)
    if match is None:
        raise UsageError(f"--fail-on {rule!r} cannot be read: {_FORMS}")
    quantity, comparison, number, suffix = match.groups()
    quantity = plain(quantity)
    if quantity in RATIOS and not suffix:
        raise UsageError(
            f'--fail-on {rule!r}: {quantity} is a ratio to the reference; end it in "x", such as '
            f'"{quantity}>1.1x"'
        )
    if quantity not in RATIOS and suffix:
        raise UsageError(
            f'--fail-on {rule!r}: {quantity} is a difference from the reference; leave the "x" '
            f'out, such as "{quantity}<-0.5"; ratios are {", ".join(RATIOS)}'
        )
    return Threshold(rule.strip(), quantity, comparison, float(number))


def check_possible(thresholds: Sequence[Threshold], metrics: Sequence[str], runs: int) -> None:
    """Refuses rules that this report cannot answer, before anything is measured.

    Args:
        thresholds: The rules.
        metrics: Names of the metrics that will be measured.
        runs: How many timed inferences were asked for.

    Raises:
        UsageError: A rule needs labelled data, another metric or more runs.
    """
    known = {plain(name) for name in metrics}
    for threshold in thresholds:
        if threshold.quantity in ("p95", "p99"):
            needed = runs_needed(int(threshold.quantity[1:]) / 100)
            if runs < needed:
                raise UsageError(
                    f"--fail-on {threshold.rule!r} needs {needed} runs or more: add --runs {needed}"
                )
        elif not threshold.is_ratio and not metrics:
            raise UsageError(
                f"--fail-on {threshold.rule!r} needs labelled data: add --data, or choose among "
                f"{', '.join(RATIOS)}"
            )
        elif not threshold.is_ratio and threshold.quantity not in {"accuracy", *known}:
            raise UsageError(
                f"--fail-on {threshold.rule!r}: nothing of that name is measured; possible are "
                f"{', '.join([*RATIOS, 'accuracy', *sorted(known)])}"
            )


def check_thresholds(
    thresholds: Sequence[Threshold],
    variants: Sequence[VariantReport],
    npu: Sequence[NpuVariant] = (),
) -> list[Check]:
    """Applies every rule to every variant of Ingot's; the first variant is the reference.

    What is for an NPU was not timed: it is held to accuracy and size alone.
    """
    reference = variants[0]
    held: list[VariantReport | NpuVariant] = [v for v in variants[1:] if v.engine == "ingot"]
    held += npu
    return [
        _check(threshold, variant, reference)
        for threshold in thresholds
        for variant in held
        if isinstance(variant, VariantReport) or _is_of_npus(threshold)
    ]


def _is_of_npus(threshold: Threshold) -> bool:
    return not threshold.is_ratio or threshold.quantity == "size"


def _check(
    threshold: Threshold, variant: VariantReport | NpuVariant, reference: VariantReport
) -> Check:
    if not threshold.is_ratio:
        found = _difference(threshold.quantity, variant.metrics)
    elif isinstance(variant, NpuVariant):
        found = _Found(variant.size_bytes / reference.size_bytes)
    else:
        found = _ratio(threshold.quantity, variant, reference)
    if found.value is None:
        assert isinstance(variant, VariantReport)
        failed, told = True, f"cannot be told from {variant.latency.runs} runs"
    else:
        failed = _COMPARISONS[threshold.comparison](found.value, threshold.limit)
        told = _in_words(threshold, found)
    return Check(
        rule=threshold.rule,
        variant=variant.name,
        value=found.value,
        low=found.low,
        high=found.high,
        failed=failed,
        told=found.value is not None,
        explanation=f"{threshold.quantity} of {variant.name} {told}",
    )


def _in_words(threshold: Threshold, found: _Found) -> str:
    def show(number: float) -> str:
        return ratio(number) if threshold.is_ratio else signed(number)

    assert found.value is not None
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" (95 % interval {show(found.low)} to {show(found.high)})"
    relation = "the reference's" if threshold.is_ratio else "against the reference"
    return f"is {show(found.value)} {relation}{interval}"


def _ratio(quantity: str, variant: VariantReport, reference: VariantReport) -> _Found:
    if quantity == "latency":
        assert variant.speed is not None
        speed = variant.speed
        return _Found(1 / speed.value, 1 / speed.high, 1 / speed.low)
    pairs = {
        "p95": (variant.latency.p95, reference.latency.p95),
        "p99": (variant.latency.p99, reference.latency.p99),
        "memory": (variant.memory.peak, reference.memory.peak),
        "size": (variant.size_bytes, reference.size_bytes),
        "throughput": (variant.throughput, reference.throughput),
    }
    own, other = pairs[quantity]
    return _Found(None) if own is None or other is None else _Found(own / other)


def _difference(quantity: str, metrics: Sequence[MetricFigures]) -> _Found:
    found = gain(find_metric(None if quantity == "accuracy" else quantity, metrics))
    assert isinstance(found, Measured)
    return _Found(found.value, found.low, found.high)
