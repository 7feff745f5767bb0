"""What monitoring reads, held to prometheus_client's own parsers."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from ingot.errors import UsageError
from ingot.runtime.statistics import (
    ArenaMemory,
    Cpu,
    DurationHistogram,
    Gpu,
    Latency,
    Memory,
    MemoryPhases,
    MetricRegistry,
    Power,
    Statistics,
    Unavailable,
    to_openmetrics,
    to_prometheus,
)

FIGURES = Statistics(
    model="net",
    inferences=3,
    errors=1,
    window_seconds=60.0,
    latency=Latency(3, 2.0, 1.5, None, None),
    throughput=0.05,
    durations=DurationHistogram((0.001, 0.01), (1, 1, 1), 0.5),
    memory=Memory(1000, 2000, ArenaMemory(300, 400), MemoryPhases(900, 300, None, 5000)),
    cpu=Cpu(150.0, 2, 12.25),
    gpus=(Gpu(0, "Big", 50.0, 4096, None),),
    power=Power(20.0, 1200.0, "RAPL package-0", "package-0 of the whole machine"),
    energy_per_inference=400.0,
)

# By the name of each sample and its labels.
EXPECTED = {
    "ingot_inferences_total{model=net}": 3,
    "ingot_inference_errors_total{model=net}": 1,
    "ingot_inference_duration_seconds_bucket{le=0.001,model=net}": 1,
    "ingot_inference_duration_seconds_bucket{le=0.01,model=net}": 2,
    "ingot_inference_duration_seconds_bucket{le=+Inf,model=net}": 3,
    "ingot_inference_duration_seconds_count{model=net}": 3,
    "ingot_inference_duration_seconds_sum{model=net}": 0.5,
    "ingot_inference_duration_quantile_seconds{model=net,quantile=0.5}": 0.0015,
    "ingot_inferences_per_second{model=net}": 0.05,
    "ingot_arena_bytes{model=net}": 300,
    "ingot_arena_peak_bytes{model=net}": 400,
    "ingot_memory_phase_peak_bytes{model=net,phase=load}": 900,
    "ingot_memory_phase_peak_bytes{model=net,phase=inference}": 300,
    "ingot_memory_phase_peak_bytes{model=net,phase=optimization}": 5000,
    "ingot_energy_per_inference_joules{model=net}": 400,
    "ingot_resident_memory_bytes{}": 1000,
    "ingot_resident_memory_peak_bytes{}": 2000,
    "ingot_cpu_seconds_total{}": 12.25,
    "ingot_cpu_busy{}": 1.5,
    "ingot_cpu_usable{}": 2,
    "ingot_gpu_busy{gpu=0,name=Big}": 0.5,
    "ingot_gpu_memory_bytes{gpu=0,name=Big}": 4096,
    "ingot_power_watts{source=RAPL package-0}": 20,
    "ingot_energy_joules_total{source=RAPL package-0}": 1200,
}


def samples(families) -> dict[str, float]:
    found = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            assert f"{sample.name}{{{labels}}}" not in found
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_both_formats_say_every_figure() -> None:
    assert samples(prometheus(FIGURES.to_prometheus())) == EXPECTED
    assert samples(openmetrics(FIGURES.to_openmetrics())) == EXPECTED


def test_kinds_and_units_are_told() -> None:
    kinds = {family.name: family.type for family in prometheus(FIGURES.to_prometheus())}
    units = {family.name: family.unit for family in openmetrics(FIGURES.to_openmetrics())}
    assert kinds["ingot_inferences"] == "counter"
    assert kinds["ingot_inference_duration_seconds"] == "histogram"
    assert kinds["ingot_cpu_busy"] == "gauge"
    assert units["ingot_inference_duration_seconds"] == "seconds"
    assert units["ingot_cpu_seconds"] == "seconds"
    assert units["ingot_inferences"] == ""


def test_prometheus_documents_a_counter_by_its_samples_name() -> None:
    lines = FIGURES.to_prometheus().splitlines()
    assert "# TYPE ingot_inferences_total counter" in lines
    assert lines[-1] != "# EOF"
    lines = FIGURES.to_openmetrics().splitlines()
    assert "# TYPE ingot_inferences counter" in lines
    assert lines[-1] == "# EOF"


def test_what_is_unavailable_says_why_and_has_no_figure() -> None:
    reason = 'no "RAPL" in\\this machine\nat all'
    without = dataclasses.replace(
        FIGURES,
        gpus=Unavailable("no GPU"),
        power=Unavailable(reason),
        energy_per_inference=Unavailable(reason),
        memory=Memory(1, 2, Unavailable("none"), Unavailable("none")),
    )
    for found in (
        samples(prometheus(without.to_prometheus())),
        samples(openmetrics(without.to_openmetrics())),
    ):
        assert found[f"ingot_figure_unavailable{{figure=power,reason={reason}}}"] == 1
        assert found["ingot_figure_unavailable{figure=gpu,reason=no GPU}"] == 1
        gone = ("ingot_gpu", "ingot_power", "ingot_energy", "ingot_arena")
        assert not [name for name in found if name.startswith(gone)]


@given(
    text=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r")),
    value=st.floats(allow_nan=False),
)
def test_labels_help_and_values_come_back_whatever_they_are(text: str, value: float) -> None:
    metrics = MetricRegistry()
    metrics.gauge("mine", text, labels=["key"]).set(value, key=text)
    figures = dataclasses.replace(FIGURES, custom=metrics.collect())
    for families in (
        openmetrics(figures.to_openmetrics()),
        prometheus(figures.to_prometheus()),
    ):
        [family] = [family for family in families if family.name == "mine"]
        [sample] = family.samples
        assert sample.labels == {"model": "net", "key": text}
        assert sample.value == value


def test_what_is_no_number_is_told_as_such() -> None:
    metrics = MetricRegistry()
    metrics.gauge("mine", "").set(math.nan)
    text = dataclasses.replace(FIGURES, custom=metrics.collect()).to_openmetrics()
    assert 'mine{model="net"} NaN' in text.splitlines()
    list(openmetrics(text))


def test_sessions_share_one_page() -> None:
    metrics = MetricRegistry()
    metrics.counter("mine", "Mine.").add(7)
    one = dataclasses.replace(FIGURES, custom=metrics.collect())
    other = dataclasses.replace(FIGURES, model="other", inferences=9)
    for text, parse in (
        (to_prometheus([one, other]), prometheus),
        (to_openmetrics([one, other]), openmetrics),
    ):
        found = samples(parse(text))
        assert found["ingot_inferences_total{model=net}"] == 3
        assert found["ingot_inferences_total{model=other}"] == 9
        assert found["ingot_cpu_usable{}"] == 2  # of the process: once
        assert found["mine_total{model=net}"] == 7
    with pytest.raises(UsageError, match="2 sessions have the model's name net"):
        to_prometheus([FIGURES, FIGURES])
    assert to_prometheus([]) == ""
    assert to_openmetrics([]) == "# EOF\n"


def test_the_listing_has_every_kind_of_figure() -> None:
    lines = str(FIGURES).splitlines()
    assert lines[0] == "net, the last 60 s"
    assert [line.split()[0] for line in lines[1:]] == [
        "inferences", "latency", "throughput", "memory", "peaks", "CPU", "GPU", "power",
        "energy",
    ]  # fmt: skip
    assert "p50 1.5, p95 needs more inferences, p99 needs more inferences ms, of 3" in lines[2]
    without = dataclasses.replace(FIGURES, power=Unavailable("no RAPL"))
    assert "not available: no RAPL" in str(without)
