"""The report as Markdown for a pull request: the finding first, the rest folded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ingot.compiler.optimization_record import Optimization
from ingot.report.rendering import formats, npu
from ingot.report.rendering.optimization import HEADER, front, trial_rows
from ingot.report.schema import NpuVariant, Quantization, ReportContents, VariantReport

_MARKS = {"failed": "❌", "passed": "✅", "cannot be told": "❔"}


def render_markdown(report: ReportContents) -> str:
    """Writes the report in GitHub's Markdown."""
    parts = [f"### Ingot report: {_text(report.model.name)}", _verdicts(report)]
    if report.checks:
        parts.append(_checks(report))
    parts += [f"> {_text(warning)}" for warning in report.warnings]
    parts.append(_figures(report))
    if report.npu:
        parts.append(_npu(report))
    if report.variants[0].metrics:
        parts.append(_folded("Accuracy, paired", _accuracy(report)))
    compiled: list[VariantReport | NpuVariant] = [*report.variants, *report.npu]
    for variant in compiled:
        if variant.build is not None and variant.build.passes:
            title = f"Passes of {variant.name}"
            parts.append(_folded(title, _passes(variant)))
        if variant.build is not None and variant.build.quantization is not None:
            found = variant.build.quantization
            parts.append(_folded(f"Layers of {variant.name}", _layers(found)))
        if variant.build is not None and variant.build.optimization is not None:
            tried = _tried(variant.build.optimization)
            parts.append(_folded(f"What was tried for {variant.name}", tried))
    for entry in report.npu:
        parts.append(_folded(f"Layers of {entry.name}, estimated", _npu_layers(entry)))
    parts.append(_folded("Machine and method", _method(report)))
    return "\n\n".join(parts) + "\n"


def _verdicts(report: ReportContents) -> str:
    rest = [verdict for verdict in report.verdicts if verdict != report.headline]
    return "\n".join([f"**{_text(report.headline)}**", *(f"- {_text(v)}" for v in rest)])


def _checks(report: ReportContents) -> str:
    rows = [
        [
            f"{_MARKS[check.outcome]} {check.outcome}",
            f"`{check.rule}`",
            _text(check.explanation),
        ]
        for check in report.checks
    ]
    return _table(["", "rule or budget", "found"], rows)


def _figures(report: ReportContents) -> str:
    metric = report.variants[0].metrics[0].name if report.variants[0].metrics else None
    header = ["variant", "median ms", "p95", "p99", "speed", "per second"]
    header += [metric, "difference"] if metric else ["outputs"]
    header += ["peak memory", "CPU", "GPU", "power", "size", "compile"]
    rows = []
    for variant in report.variants:
        row = [
            _text(variant.name),
            formats.milliseconds(variant.latency.median.value),
            formats.milliseconds(variant.latency.p95),
            formats.milliseconds(variant.latency.p99),
            _speed(variant),
            formats.rate(variant.throughput),
        ]
        if metric:
            own = variant.metrics[0]
            shown = "reference"
            if own.difference is not None:
                interval = formats.difference_interval(own.difference)
                shown = f"{formats.difference(own.difference.value)} ({interval})"
            row += [formats.metric_value(own), shown]
        else:
            row.append(_text(formats.agreement(variant)))
        row += [
            formats.size(variant.memory.peak),
            formats.cpu(variant.usage),
            formats.gpu(variant.usage),
            " ".join(filter(None, (formats.power(variant.usage), formats.energy(variant.usage)))),
            formats.size(variant.size_bytes),
            formats.MISSING if variant.build is None else formats.seconds(variant.build.seconds),
        ]
        rows.append(row)
    return _table(header, rows)


def _npu(report: ReportContents) -> str:
    """NPUs by themselves: estimates stand in no column with measured times."""
    memories = npu.memories(report.npu)
    judged = report.npu[0].metrics[0].name if report.npu[0].metrics else "outputs"
    header = ["on an NPU, **estimated**", "cycles", "MHz", "per second", "utilization"]
    header += [f"{name}: peak; read + written" for name in memories]
    header += [judged, "multiply-adds on the NPU", "borders"]
    rows = []
    for variant in report.npu:
        estimate = variant.estimate
        rows.append(
            [
                _text(variant.name),
                f"{estimate.cycles:,}",
                npu.megahertz(variant),
                npu.rate(variant),
                f"{estimate.utilization:.0%}",
                *(f"{npu.peak(variant, name)}; {npu.traffic(variant, name)}" for name in memories),
                _judged(variant),
                f"{estimate.share_of_macs:.1%}",
                f"{estimate.borders} tensors, {formats.size(estimate.border_bytes)}",
            ]
        )
    left = [
        f"- {_text(variant.name)} leaves {_text(entry.node)} ({entry.operator}) to the CPU: "
        f"{_text(entry.reason)}"
        for variant in report.npu
        for entry in variant.estimate.left
    ]
    return "\n\n".join([_table(header, rows), *(["\n".join(left)] if left else [])])


def _judged(variant: NpuVariant) -> str:
    if not variant.metrics:
        return _text(formats.agreement(variant))
    metric = variant.metrics[0]
    assert metric.difference is not None
    interval = formats.difference_interval(metric.difference)
    change = formats.difference(metric.difference.value)
    return f"{formats.metric_value(metric)}, {change} ({interval})"


def _npu_layers(variant: NpuVariant) -> str:
    memories = list(variant.estimate.memories)
    rows = [
        [
            _text(layer.name),
            ", ".join(layer.operators),
            f"{layer.cycles:,}",
            f"{layer.npu_cycles:,}",
            f"{layer.macs:,}",
            f"{layer.utilization:.0%}",
            *(f"{layer.memory_cycles.get(name, 0):,}" for name in memories),
        ]
        for layer in variant.estimate.layers
    ]
    header = ["layer", "operations", "cycles", "of arithmetic", "multiply-adds", "utilization"]
    return _table([*header, *(f"{name}, cycles" for name in memories)], rows)


def _speed(variant: VariantReport) -> str:
    if variant.speed is None:
        return "reference"
    return f"**{formats.times(variant.speed.value)}** ({formats.times_interval(variant.speed)})"


def _accuracy(report: ReportContents) -> str:
    judged: list[VariantReport | NpuVariant] = [*report.variants, *report.npu]
    rows = [
        [
            _text(variant.name),
            metric.name,
            formats.metric_value(metric),
            "reference"
            if metric.difference is None
            else f"{formats.difference(metric.difference.value)} "
            f"({formats.difference_interval(metric.difference)})",
            formats.MISSING if metric.identical is None else f"{metric.identical:,}",
            f"{metric.n:,}",
        ]
        for variant in judged
        for metric in variant.metrics
    ]
    header = ["variant", "metric", "value", "difference (95 %)", "same prediction", "examples"]
    return _table(header, rows)


def _passes(variant: VariantReport | NpuVariant) -> str:
    assert variant.build is not None
    rows = [
        [
            f"`{record.name}`",
            str(record.applied) if record.changed else formats.MISSING,
            f"{record.nodes_before} → {record.nodes_after}",
            formats.seconds(record.seconds),
            formats.MISSING if record.check is None else f"{record.check.max_abs_error:.1e}",
        ]
        for record in variant.build.passes
    ]
    return _table(["pass", "applied", "nodes", "time", "max error"], rows)


def _layers(found: Quantization) -> str:
    rows = [
        [
            _text(layer.name),
            layer.precision,
            formats.decibels(layer.layer_sqnr_db),
            formats.decibels(layer.output_sqnr_db),
            formats.rate(layer.multiply_adds),
        ]
        for layer in found.layers
    ]
    header = ["layer", "precision", "its noise, dB", "of the outputs alone, dB", "multiply-adds"]
    table = _table(header, rows)
    if found.budget is None:
        return table
    return f"{_text(formats.budget(found.budget))}\n\n{table}"


def _tried(found: Optimization) -> str:
    rows = [[_text(cell) for cell in dataclasses.astuple(row)] for row in trial_rows(found)]
    told = [*filter(None, [front(found)]), *found.notes]
    return "\n\n".join([_table(HEADER, rows), *map(_text, told)])


def _method(report: ReportContents) -> str:
    machine, measuring = report.machine, report.measuring
    shapes = ", ".join(
        f"{name} {'x'.join(map(str, shape))}" for name, shape in measuring.input_shapes.items()
    )
    lines = [
        f"{machine.cpu}, {machine.logical_cpus} CPUs, {formats.size(machine.memory_bytes)} "
        f"memory, {machine.system}",
        f"{measuring.threads} threads on CPUs {', '.join(map(str, measuring.cpus))}; input "
        f"{shapes} ({measuring.input_source}); {measuring.rounds} rounds in turn",
        ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        f"model sha256 `{report.model.sha256}`",
    ]
    lines += [_text(line) for line in formats.not_available(report)]
    if report.data is not None:
        lines.append(f"data: {report.data.description}, sha256 `{report.data.sha256}`")
    return "\n".join(f"- {line}" for line in lines)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{_text(title)}</summary>\n\n{body}\n\n</details>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    align = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, align, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(text: str) -> str:
    """Text that no character of turns into markup."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text
