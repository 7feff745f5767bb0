"""OpenTelemetry collects the same figures."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from ingot.errors import IngotError
from ingot.runtime.statistics import telemetry
from ingot.runtime.statistics.metrics import MetricRegistry
from tests.runtime.statistics.test_exposition import EXPECTED, FIGURES


def collected(reader: InMemoryMetricReader) -> dict[str, float]:
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    pairs = sorted(point.attributes.items())
                    labels = ",".join(f"{key}={value}" for key, value in pairs)
                    found[f"{metric.name}{{{labels}}}"] = point.value
    return found


def test_every_figure_is_observed_when_it_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_FRESH_SECONDS", 0.0)
    metrics = MetricRegistry()
    mine = metrics.counter("mine", "")
    now = {"inferences": 3}
    reader = InMemoryMetricReader()
    telemetry.export(
        lambda: [dataclasses.replace(FIGURES, custom=metrics.collect(), **now)],
        provider=MeterProvider([reader]),
    )
    found = collected(reader)
    expected = {name.replace("_total{", "{"): value for name, value in EXPECTED.items()}
    assert found.pop("mine{model=net}") == 0
    assert found == {name: v for name, v in expected.items() if "_bucket{" not in name}
    now["inferences"] = 8
    mine.add(2)
    found = collected(reader)
    assert (found["ingot_inferences{model=net}"], found["mine{model=net}"]) == (8, 2)


def test_a_collection_reads_the_figures_once() -> None:
    calls = []
    reader = InMemoryMetricReader()
    telemetry.export(lambda: calls.append(1) or [FIGURES], provider=MeterProvider([reader]))
    calls.clear()
    collected(reader)
    assert len(calls) <= 1


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(IngotError, match=r"pip install 'ingot\[telemetry\]'"):
        telemetry.export(lambda: [FIGURES])
