"""Putting a report together from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ingot import statistics
from ingot.compiler.ingest import Ingested
from ingot.data import Dataset
from ingot.data.metrics import Metric
from ingot.report.evaluate import Evaluation, figure, metric_figures
from ingot.report.examples import Examples
from ingot.report.measure import Measurement, MeasureSettings
from ingot.report.npu import read_estimate
from ingot.report.process import Worker
from ingot.report.schema import (
    DataFacts,
    Latency,
    MeasureFacts,
    Memory,
    MetricFigures,
    ModelFacts,
    NpuVariant,
    TensorFacts,
    UsageFigures,
    VariantReport,
)
from ingot.report.usage import Usage
from ingot.report.variants import Prepared
from ingot.report.workers.protocol import Array
from ingot.runtime.statistics.figures import Unavailable


def model_facts(source: Ingested, path: Path, name: str | None) -> ModelFacts:
    """The facts of a source model; external data counts to its size."""
    graph = source.original.graph
    files = {path}
    for value in graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            files.add(Path(value.const_value.path))
    return ModelFacts(
        name=name or source.name,
        sha256=source.sha256,
        size_bytes=sum(file.stat().st_size for file in files),
        opset=source.opset,
        nodes=len(graph),
        inputs=tuple(
            TensorFacts(
                name=str(value.name),
                dtype="" if value.dtype is None else value.dtype.numpy().name,
                shape=tuple(
                    dimension if isinstance(dimension, int) else str(dimension.value or "?")
                    for dimension in value.shape or ()
                ),
            )
            for value in graph.inputs
            if not value.is_initializer()
        ),
    )


def data_facts(data: Dataset | None) -> DataFacts | None:
    """The facts of the data, its digest included."""
    if data is None:
        return None
    return DataFacts(
        description=data.description,
        sha256=data.digest,
        examples=len(data),
        labelled=data.labelled,
    )


def measure_facts(
    settings: MeasureSettings, measurements: Sequence[Measurement], examples: Examples
) -> MeasureFacts:
    """How it was measured."""
    return MeasureFacts(
        threads=settings.threads,
        cpus=settings.cpus,
        batch=examples.batch,
        rounds=len(measurements[0].rounds),
        input_shapes={name: array.shape for name, array in examples.timed.items()},
        input_source=examples.description,
    )


def variant_reports(
    prepared: Sequence[Prepared],
    workers: Sequence[Worker],
    measurements: Sequence[Measurement],
    evaluations: Sequence[Evaluation],
    metrics: Sequence[Metric],
    labels: Array | None,
    batch: int,
) -> list[VariantReport]:
    """What was found of each variant, the reference first."""
    reports = []
    for position, (entry, worker, measured, evaluation) in enumerate(
        zip(prepared, workers, measurements, evaluations, strict=True)
    ):
        speed = None
        if position:
            speed = figure(statistics.ratio_of_medians(measurements[0].rounds, measured.rounds))
        reference = evaluations[0] if position else None
        reports.append(
            VariantReport(
                name=entry.variant.name,
                engine=entry.variant.engine,
                engine_version=str(worker.facts.get("version", "")),
                precision=entry.precision,
                size_bytes=entry.size_bytes,
                load_seconds=measured.load_seconds,
                latency=latency(measured),
                throughput=1e3 * batch / float(np.mean(measured.milliseconds)),
                speed=speed,
                memory=Memory(peak=measured.peak_bytes, baseline=measured.baseline_bytes),
                metrics=_figures(evaluation, reference, metrics, labels),
                agreement=evaluation.agreement,
                build=entry.build,
                usage=usage_figures(measured.usage),
            )
        )
    return reports


def usage_figures(usage: Usage) -> UsageFigures:
    """What a variant took of the machine; what the machine does not tell apart, with why."""
    told = {name: getattr(usage, name) for name in ("gpu_percent", "watts", "joules_per_inference")}
    reasons = {name: f.reason for name, f in told.items() if isinstance(f, Unavailable)}
    return UsageFigures(
        cpu_percent=usage.cpu_percent,
        power_source=usage.power_source,
        unavailable=reasons,
        **{name: None if name in reasons else figure for name, figure in told.items()},
    )


def npu_variants(
    prepared: Sequence[Prepared],
    evaluations: Sequence[Evaluation],
    reference: Evaluation,
    metrics: Sequence[Metric],
    labels: Array | None,
) -> list[NpuVariant]:
    """What is known of each variant for an NPU, which was not timed.

    Args:
        prepared: The variants.
        evaluations: What each answered.
        reference: What the reference answered.
        metrics: What they are judged by.
        labels: The labels [examples]; needed with metrics.
    """
    found = []
    for entry, evaluation in zip(prepared, evaluations, strict=True):
        assert evaluation.agreement is not None and entry.build is not None
        found.append(
            NpuVariant(
                name=entry.variant.name,
                precision=entry.precision,
                size_bytes=entry.size_bytes,
                estimate=read_estimate(entry.path),
                metrics=_figures(evaluation, reference, metrics, labels),
                agreement=evaluation.agreement,
                build=entry.build,
            )
        )
    return found


def _figures(
    evaluation: Evaluation,
    reference: Evaluation | None,
    metrics: Sequence[Metric],
    labels: Array | None,
) -> tuple[MetricFigures, ...]:
    if not metrics:
        return ()
    assert labels is not None
    return tuple(
        metric_figures(
            metric,
            evaluation.predictions[index],
            None if reference is None else reference.predictions[index],
            labels,
        )
        for index, metric in enumerate(metrics)
    )


def measuring_warnings(variants: Sequence[VariantReport], settings: MeasureSettings) -> list[str]:
    """What about the measurement a reader should know, each in one sentence."""
    warnings = []
    for variant in variants:
        latency = variant.latency
        if not latency.stable:
            warnings.append(
                f"{variant.name} had not settled after {latency.warm_up_runs} warm-up runs."
            )
        if latency.runs < settings.runs:
            warnings.append(
                f"{variant.name} was timed {latency.runs} times instead of {settings.runs}: it is "
                f"slow, and the time per variant is limited to about {settings.seconds:g} s."
            )
        if variant.agreement is None or variant.agreement.finite:
            continue
        if variant.agreement.blank_output is not None:
            warnings.append(
                f"Output {variant.agreement.blank_output} of {variants[0].name} has no finite "
                f"number on {variant.agreement.source}, so that {variant.name} cannot be compared "
                "with it: give real data with --data."
            )
        else:
            warnings.append(
                f"{variant.name} gives infinite values or no numbers where {variants[0].name} "
                "gives finite ones."
            )
    return warnings


def latency(measured: Measurement) -> Latency:
    """The latency of a variant, with what its number of runs allows to say."""
    milliseconds = measured.milliseconds
    return Latency(
        median=figure(statistics.median_estimate(measured.rounds)),
        p95=statistics.quantile(milliseconds, 0.95),
        p99=statistics.quantile(milliseconds, 0.99),
        runs=milliseconds.size,
        rounds=tuple(tuple(round(float(t), 6) for t in taken) for taken in measured.rounds),
        warm_up_runs=measured.warm_up.runs,
        stable=measured.warm_up.stable,
    )
