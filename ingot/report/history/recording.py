"""What of a report or a benchmark goes into the history."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence

from ingot.report.bench import BenchRow
from ingot.report.history.runs import ACCURACY, SPEED, Found, Run, kind_of_machine
from ingot.report.quantities import QUANTITIES, Measured, finite, sized, timed
from ingot.report.schema import (
    Build,
    MachineFacts,
    MetricFigures,
    NpuVariant,
    ReportContents,
    VariantReport,
)


def runs_of_report(report: ReportContents, commit: str | None) -> list[Run]:
    """The runs of a report: every variant that Ingot made, those for an NPU without times."""
    shapes = " ".join(
        f"{name}={'x'.join(map(str, shape))}"
        for name, shape in sorted(report.measuring.input_shapes.items())
    )
    threads = report.measuring.threads
    peers = sorted(entry.engine for entry in report.variants if entry.engine != "ingot")
    setting = _setting("report", threads, shapes, peers)
    data = "" if report.data is None else report.data.sha256
    facts = {
        "model_sha256": report.model.sha256,
        "versions": report.machine.versions,
        "system": report.machine.system,
        "load_average": report.machine.load_average,
    }

    def run(build: Build | None, name: str, found: Iterable[Found]) -> Run:
        recipe = name.removeprefix("Ingot ") if build is None else str(build.recipe.get("name", ""))
        return Run(
            model=report.model.name,
            recipe=recipe,
            target="" if build is None else build.target,
            setting=setting,
            machine=kind_of_machine(report.machine),
            commit=commit,
            recorded=report.created,
            facts=facts,
            figures=tuple(found),
        )

    batch = report.measuring.batch
    made: list[Run] = []
    for entry in report.variants:
        if entry.engine == "ingot":
            made.append(run(entry.build, entry.name, _of_variant(entry, batch, data)))
    for estimated in report.npu:
        made.append(run(estimated.build, estimated.name, _of_npu(estimated, data)))
    return made


def runs_of_bench(
    rows: Sequence[BenchRow],
    machine: MachineFacts,
    shapes: Sequence[str],
    commit: str | None,
) -> list[Run]:
    """The runs of a benchmark.

    Args:
        rows: What was timed.
        machine: Where.
        shapes: What symbolic dimensions were bound to, as the user gave it.
        commit: Of the user's project.
    """
    facts = {
        "versions": machine.versions,
        "system": machine.system,
        "load_average": machine.load_average,
    }
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return [
        Run(
            model=row.model,
            recipe=row.recipe,
            target=row.target,
            setting=_setting(
                "bench", row.threads, " ".join([f"batch={row.batch}", *sorted(shapes)]), row.peers
            ),
            machine=kind_of_machine(machine),
            commit=commit,
            recorded=now,
            facts=facts,
            figures=tuple(_of_row(row)),
        )
        for row in rows
    ]


def _setting(command: str, threads: int, shapes: str, peers: Iterable[str]) -> str:
    turns = ", ".join(sorted(peers))
    return f"{command}, threads={threads} {shapes}".rstrip() + (f", beside {turns}" * bool(turns))


def _of_variant(variant: VariantReport, batch: int, data: str) -> list[Found]:
    measured = timed(variant.latency, batch)
    measured |= sized(variant.size_bytes, variant.memory.peak)
    found = [_found(name, figure) for name, figure in measured.items()]
    if variant.speed is not None:
        speed = variant.speed
        found.append(_speed(Measured(speed.value, speed.low, speed.high)))
    return [*found, *_of_metrics(variant.metrics, data)]


def _of_npu(variant: NpuVariant, data: str) -> list[Found]:
    found = [_found(name, figure) for name, figure in sized(variant.size_bytes).items()]
    return [*found, *_of_metrics(variant.metrics, data)]


def _of_row(row: BenchRow) -> list[Found]:
    measured = timed(row.latency["ingot"], row.batch)
    measured |= sized(round(row.artifact_mb * 1e6), round(row.peak_rss_mb * 1e6))
    found = [_found(name, figure) for name, figure in measured.items()]
    if row.ratio is not None and row.ratio_low is not None and row.ratio_high is not None:
        found.append(_speed(Measured(row.ratio, row.ratio_low, row.ratio_high)))
    return found


def _found(name: str, measured: Measured) -> Found:
    quantity = QUANTITIES[name]
    return Found(
        quantity=name,
        basis="",
        unit=quantity.unit,
        higher_is_better=quantity.higher_is_better,
        value=measured.value,
        low=measured.low,
        high=finite(measured.high),
    )


def _speed(measured: Measured) -> Found:
    return Found(SPEED, "", "x", True, measured.value, measured.low, measured.high)


def _of_metrics(metrics: Sequence[MetricFigures], data: str) -> list[Found]:
    """Metrics that have a value; a correlation of what does not vary has none."""
    return [
        Found(
            quantity=f"{ACCURACY}{metric.name}",
            basis=f"{metric.n} examples, {data}",
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            value=metric.value.value,
            low=metric.value.low,
            high=metric.value.high,
        )
        for metric in metrics
        if math.isfinite(metric.value.value)
    ]
