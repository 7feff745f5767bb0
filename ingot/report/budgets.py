"""Budgets: what a model may take, in absolute numbers, from a file such as ``targets.toml``.

A table per model, by the model's name::

    [mobilenetv2]
    latency_p50_ms = 10     # at most
    throughput_per_s = 100  # at least
    accuracy_loss = 0.5     # of the first metric, against the reference

Every variant that Ingot made is held to the budgets of its model. A budget is broken where all of
the 95 % interval of what was measured lies beyond it, holds where all of it lies within, and cannot
be told in between: noise alone breaks no budget. Rules against the reference are the command
line's: :mod:`ingot.report.thresholds`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pydantic

from ingot.errors import UsageError
from ingot.report.quantities import (
    P99,
    QUANTITIES,
    Measured,
    find_metric,
    finite,
    gain,
    plain,
    sized,
    timed,
)
from ingot.report.schema import Check, MetricFigures, NpuVariant, VariantReport
from ingot.statistics import runs_needed
from ingot.toml_tables import parse_toml

_MOST_BYTES = 1 << 20


class Budget(pydantic.BaseModel):
    """What one model may take; what is None is not held to anything.

    Attributes:
        latency_p50_ms: Most milliseconds of an inference, median.
        latency_p99_ms: Most milliseconds of an inference, 99th percentile.
        throughput_per_s: Least examples per second, one inference after another.
        memory_mb: Most resident memory of a fresh process that loads and runs the artifact, with
            the interpreter and NumPy, in MB (10^6 bytes).
        size_mb: Largest artifact, in MB.
        accuracy_floor: Worst value of the metric: the least, or the most of a metric of which lower
            is better.
        accuracy_loss: Most that the metric is worse than the reference's, in its own unit.
        accuracy_metric: The metric's name; the first one where it is None.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )

    latency_p50_ms: float | None = pydantic.Field(default=None, gt=0)
    latency_p99_ms: float | None = pydantic.Field(default=None, gt=0)
    throughput_per_s: float | None = pydantic.Field(default=None, gt=0)
    memory_mb: float | None = pydantic.Field(default=None, gt=0)
    size_mb: float | None = pydantic.Field(default=None, gt=0)
    accuracy_floor: float | None = None
    accuracy_loss: float | None = pydantic.Field(default=None, ge=0)
    accuracy_metric: str | None = None

    @property
    def of_quantities(self) -> dict[str, float]:
        """The budgets of what is measured of any variant, by the quantity's name."""
        given = ((name, getattr(self, name)) for name in QUANTITIES)
        return {name: limit for name, limit in given if limit is not None}

    @property
    def of_accuracy(self) -> dict[str, float]:
        """The budgets of the metric, by their keys."""
        given = {"accuracy_floor": self.accuracy_floor, "accuracy_loss": self.accuracy_loss}
        return {key: limit for key, limit in given.items() if limit is not None}


def load_budget(path: Path, model: str) -> Budget:
    """Reads the budgets of a model.

    Args:
        path: A TOML file with a table per model.
        model: The model's name.

    Raises:
        UsageError: The file cannot be read, has no table of that name (names the nearest), or any
            table of it has an unknown key (names the nearest known one) or an impossible value.
    """
    tables = _parse(path)
    budgets = {name: _validate(table, f"{path}, [{name}]") for name, table in tables.items()}
    if model not in budgets:
        hint = _nearest(model, budgets, "models with budgets")
        raise UsageError(f"{path} has no budgets for {model!r}; {hint}")
    return budgets[model]


def check_budget_possible(budget: Budget, metrics: Sequence[str], runs: int) -> None:
    """Refuses budgets that this report cannot judge, before anything is measured.

    Args:
        budget: The budgets.
        metrics: Names of the metrics that will be measured.
        runs: How many timed inferences were asked for.

    Raises:
        UsageError: A budget needs labelled data, another metric or more runs.
    """
    needed = runs_needed(P99)
    if budget.latency_p99_ms is not None and runs < needed:
        raise UsageError(f"the budget latency_p99_ms needs {needed} runs or more: --runs {needed}")
    if not budget.of_accuracy:
        return
    key = next(iter(budget.of_accuracy))
    if not metrics:
        raise UsageError(f"the budget {key} needs labelled data: add --data")
    wanted = budget.accuracy_metric
    if wanted is not None and plain(wanted) not in {plain(name) for name in metrics}:
        raise UsageError(
            f"the budget {key} is of {wanted!r}, which is not measured; "
            f"measured are {', '.join(metrics)}"
        )


def check_budget(
    budget: Budget, variants: Iterable[VariantReport], npu: Iterable[NpuVariant], batch: int
) -> list[Check]:
    """Holds every variant of Ingot's to the budgets.

    What is for an NPU was not timed: only its accuracy and size can be told.

    Args:
        budget: The budgets.
        variants: What was timed.
        npu: What is for an NPU.
        batch: Examples per timed inference.
    """
    checks = []
    for variant in (entry for entry in variants if entry.engine == "ingot"):
        found = timed(variant.latency, batch)
        found |= sized(variant.size_bytes, variant.memory.peak)
        few = f"{variant.latency.runs} runs are too few"
        checks += _hold(budget, variant.name, found, few, variant.metrics)
    for entry in npu:
        found = sized(entry.size_bytes)
        checks += _hold(budget, entry.name, found, "it was not timed", entry.metrics)
    return checks


def _hold(
    budget: Budget,
    variant: str,
    found: dict[str, Measured],
    missing: str,
    metrics: Sequence[MetricFigures],
) -> list[Check]:
    checks = []
    for name, limit in budget.of_quantities.items():
        quantity = QUANTITIES[name]
        checks.append(
            _check(
                f"{name} = {limit:g}",
                variant,
                name,
                found.get(name) or missing,
                limit,
                at_least=quantity.higher_is_better,
                unit=quantity.unit,
            )
        )
    return checks + _hold_accuracy(budget, variant, metrics)


def _hold_accuracy(budget: Budget, variant: str, metrics: Sequence[MetricFigures]) -> list[Check]:
    if not budget.of_accuracy:
        return []
    metric = find_metric(budget.accuracy_metric, metrics)
    checks = []
    if budget.accuracy_floor is not None:
        checks.append(
            _check(
                f"accuracy_floor = {budget.accuracy_floor:g}",
                variant,
                metric.name,
                Measured(metric.value.value, metric.value.low, metric.value.high),
                budget.accuracy_floor,
                at_least=metric.higher_is_better,
                unit=metric.unit,
            )
        )
    if budget.accuracy_loss is not None:
        better = gain(metric)
        lost: Measured | str = "it is the reference itself"
        if better is not None:
            # Taken from zero, since -0 is not what a reader expects.
            lost = Measured(0.0 - better.value, 0.0 - better.high, 0.0 - better.low)
        checks.append(
            _check(
                f"accuracy_loss = {budget.accuracy_loss:g}",
                variant,
                f"the loss of {metric.name}",
                lost,
                budget.accuracy_loss,
                at_least=False,
                unit="points" if metric.unit == "%" else metric.unit,
            )
        )
    return checks


def _check(
    rule: str,
    variant: str,
    what: str,
    found: Measured | str,
    limit: float,
    *,
    at_least: bool,
    unit: str,
) -> Check:
    """The outcome for one budget; ``found`` may be the reason why there is nothing to judge."""
    if isinstance(found, str):
        told = f"{what} of {variant} cannot be told: {found}"
        return Check(
            rule=rule, variant=variant, value=None, low=None, high=None,
            failed=False, told=False, explanation=told,
        )  # fmt: skip
    broken = found.high < limit if at_least else found.low > limit
    holds = found.low >= limit if at_least else found.high <= limit
    return Check(
        rule=rule,
        variant=variant,
        value=found.value,
        low=finite(found.low) if found.has_interval else None,
        high=finite(found.high) if found.has_interval else None,
        failed=broken,
        told=broken or holds,
        explanation=_in_words(what, variant, found, limit, at_least, unit),
    )


def _in_words(
    what: str, variant: str, found: Measured, limit: float, at_least: bool, unit: str
) -> str:
    interval = ""
    if found.has_interval:
        end = f"to {found.high:.4g}" if finite(found.high) is not None else "upwards"
        interval = f" (95 % interval {found.low:.4g} {end})"
    bound = "at least" if at_least else "at most"
    number = f"{found.value:.4g} {unit}".rstrip()
    return f"{what} of {variant} is {number}{interval}; wanted is {bound} {limit:g}"


def _parse(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is no list of budgets: it is over {_MOST_BYTES >> 20} MiB")
        tables = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the budgets {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, no UTF-8, numbers too long
        reason = " ".join(str(error).split())
        raise UsageError(f"the budgets {path} cannot be parsed: {reason}") from error
    if not tables:
        raise UsageError(
            f"{path} states no budgets: write a table per model, such as [mobilenetv2]"
        )
    return tables


def _validate(table: Any, where: str) -> Budget:
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table: write budgets under the model's name in brackets")
    try:
        budget = Budget.model_validate(table)
    except pydantic.ValidationError as error:
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            hint = _nearest(key, Budget.model_fields, "keys")
            raise UsageError(f"{where} has no key {key!r}; {hint}") from error
        raise UsageError(f"{where}, key {key!r}: {first['msg']}") from error
    if not budget.of_quantities and not budget.of_accuracy:
        raise UsageError(f"{where} states no budget; keys are {', '.join(Budget.model_fields)}")
    return budget


def _nearest(wanted: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    nearest = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"{what}: {', '.join(names)}"
