"""Comparing variants of a model: in accuracy, speed, memory and size."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import onnx
import onnx_ir as ir

from ingot.compiler.data import DataLike
from ingot.compiler.ingest import ingest
from ingot.data import Dataset
from ingot.data.metrics import Metric, metric_by_name
from ingot.data.preprocessing import Preprocessing
from ingot.errors import UsageError
from ingot.files import temporary_folder
from ingot.onnx_graph.protos import read_proto
from ingot.passes.storage import save
from ingot.progress import Progress, no_progress
from ingot.report.assembly import (
    data_facts,
    measure_facts,
    measuring_warnings,
    model_facts,
    npu_variants,
    variant_reports,
)
from ingot.report.budgets import Budget, check_budget, check_budget_possible
from ingot.report.evaluate import choose_metrics, evaluate
from ingot.report.examples import Examples, open_data
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.measure import MeasureSettings, choose_cpus, measure
from ingot.report.npu_variants import ForNpus, prepare_for_npus
from ingot.report.process import Worker
from ingot.report.report import Report
from ingot.report.schema import Check, MeasureFacts, ModelFacts, NpuVariant, VariantReport
from ingot.report.thresholds import Threshold, check_possible, check_thresholds, parse_threshold
from ingot.report.variants import Prepared, RecipeLike, Variant, prepare, with_unique_names
from ingot.report.verdict import npu_verdict, verdict
from ingot.report.workers.protocol import Array
from ingot.runtime.cpu_quota import usable_cpus

__all__ = ["Report", "Variant", "compare"]


def compare(
    model: str | Path | onnx.ModelProto | ir.Model,
    variants: Sequence[Variant | RecipeLike] = ("fp32",),
    dataset: Dataset | str | Path | None = None,
    *,
    metrics: Sequence[Metric | str] | None = None,
    against: Sequence[str] = ("onnxruntime",),
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    target: str | Sequence[str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: DataLike | None = None,
    threads: int | None = None,
    runs: int = 100,
    seconds: float = 60.0,
    fail_on: Sequence[str] = (),
    budget: Budget | None = None,
    name: str | None = None,
    notes: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Report:
    """Compares variants of a model with the model run by ONNX Runtime.

    Each variant is compiled, loaded in a fresh process of its own, timed in turn with the others,
    and judged on the same examples. A variant for an NPU is judged by the NPU's reference model,
    beside the quantized graph in ONNX Runtime, and has Vela's estimates instead of times.

    Args:
        model: An ``.onnx`` file, or a model in memory.
        variants: Recipes (name, file, keys or ``Recipe``) that Ingot compiles the model with, or
            variants.
        dataset: Labelled data for accuracy, or data alone to compare outputs on; see
            ``ingot.data.open_dataset`` for the forms. Without it outputs are
            compared on random inputs.
        metrics: ``top1``, ``top5``, ``spearman``, ``module:function``, or metrics; by default what
            fits the data. The first is what ``accuracy`` means.
        against: The peers, ``onnxruntime``, ``openvino`` or ``openvino_bf16`` (with its floats in
            bfloat16). The first is the reference; without any it is the first variant.
        preprocessing: How data becomes the model's inputs; by default what the model carries.
        limit: How many examples to use at most, spread evenly.
        target: Overrides the recipes' target; of several, each recipe is compiled for each.
        shapes: What symbolic dimensions are bound to, by input name.
        calibration: What recipes that quantize are calibrated with, over their own.
        threads: Threads per inference, the same for all; by default one per CPU that this process
            may use.
        runs: Timed inferences per variant; 100 or more show p99.
        seconds: About how long a variant may be timed; a slow one gets fewer runs.
        fail_on: Rules such as ``latency>1.1x`` or ``accuracy<-0.5``, answered in
            ``Report.checks``.
        budget: What the model may take in absolute numbers, answered there too; see
            ``ingot.report.budgets``.
        name: The model's name in the report; by default its file's.
        notes: What a reader should know of the model; shown with the report's warnings.
        progress: Told what is being done, how much of it is done, and of how much (0 of 0 when
            that is not known).

    Returns:
        The report; ``Report.write(folder)`` makes the pages.

    Raises:
        ModelError: The model is damaged or cannot be compiled.
        DataError: The data is missing, damaged, or does not fit the model.
        UsageError: A recipe, peer, metric, rule, budget or number is wrong.
        IngotError: A variant failed while it ran.

    Example:
        >>> import ingot
        >>> report = ingot.compare("model.onnx", ["fp32"], "validation/")  # doctest: +SKIP
        >>> report.headline  # doctest: +SKIP
        'Ingot fp32 is 1.21x as fast as ONNX Runtime fp32 ...'
        >>> report.write("report/")  # doctest: +SKIP
    """
    thresholds = [parse_threshold(rule) for rule in fail_on]
    wanted = None if metrics is None else [_as_metric(metric) for metric in metrics]
    targets = [target] if target is None or isinstance(target, str) else list(target)
    chosen = with_unique_names(
        [
            *(Variant.peer(peer) for peer in against),
            *(_as_variant(v, aim) for v in variants for aim in targets),
        ]
    )
    if len(chosen) < 2:
        raise UsageError("a comparison needs two variants: give another recipe or a peer")
    if all(variant.for_npu for variant in chosen):
        raise UsageError("what is for an NPU cannot be timed here: give a peer to compare with")
    settings = _settings(threads, runs, seconds)
    with temporary_folder("ingot-report-") as scratch:
        folder = Path(scratch)
        progress("reading the model", 0, 0)
        path = _as_file(model, folder)
        source = ingest(path, shapes=shapes, simplified=False)
        data = open_data(dataset, source, path, preprocessing, limit)
        judged_by, labels = choose_metrics(wanted, data)
        held_to = _HeldTo(thresholds, budget)
        held_to.check_possible([metric.name for metric in judged_by], runs)
        subject = _Subject(
            path=path,
            facts=model_facts(source, path, name),
            data=data,
            examples=Examples(data, source, shapes),
            metrics=judged_by,
            labels=labels,
            notes=tuple(notes),
        )
        del source  # The weights; the workers load their own.
        size = subject.facts.size_bytes
        how = _HowToPrepare(shapes=shapes, calibration=calibration, progress=progress)
        timed = [prepare(v, path, size, folder, **how) for v in chosen if not v.for_npu]
        for_npus = prepare_for_npus([v for v in chosen if v.for_npu], path, size, folder, **how)
        timed += for_npus.peers
        return _report(subject, timed, for_npus, settings, held_to, progress)


@dataclasses.dataclass(frozen=True)
class _Subject:
    """What is compared, on what, and by what."""

    path: Path
    facts: ModelFacts
    data: Dataset | None
    examples: Examples
    metrics: tuple[Metric, ...]
    labels: Array | None
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _HeldTo:
    """What a build pipeline holds the variants to."""

    thresholds: Sequence[Threshold]
    budget: Budget | None

    def check_possible(self, metrics: Sequence[str], runs: int) -> None:
        check_possible(self.thresholds, metrics, runs)
        if self.budget is not None:
            check_budget_possible(self.budget, metrics, runs)

    def check(
        self, reports: Sequence[VariantReport], npu: Sequence[NpuVariant], batch: int
    ) -> tuple[Check, ...]:
        budget = self.budget
        budgets = [] if budget is None else check_budget(budget, reports, npu, batch)
        return (*check_thresholds(self.thresholds, reports, npu), *budgets)


class _HowToPrepare(TypedDict):
    shapes: Mapping[str, Sequence[int]] | None
    calibration: DataLike | None
    progress: Progress


def _report(
    subject: _Subject,
    timed: Sequence[Prepared],
    for_npus: ForNpus,
    settings: MeasureSettings,
    held_to: _HeldTo,
    progress: Progress,
) -> Report:
    """The report on the prepared variants, the reference first."""
    machine = machine_facts()
    measuring, reports, npu = _judge(subject, timed, for_npus, settings, progress)
    data = data_facts(subject.data)
    verdicts = {entry.name: verdict(entry, reports[0], data) for entry in reports[1:]}
    verdicts |= {entry.name: npu_verdict(entry, data) for entry in npu}
    return Report(
        ingot_version=machine.versions.get("ingot", "not installed"),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        model=subject.facts,
        data=data,
        machine=machine,
        measuring=measuring,
        reference=reports[0].name,
        variants=tuple(reports),
        npu=tuple(npu),
        headline=verdicts[_main_variant(reports, npu)],
        verdicts=tuple(verdicts.values()),
        checks=held_to.check(reports, npu, measuring.batch),
        warnings=(
            *subject.notes,
            *machine_warnings(machine, settings.threads),
            *measuring_warnings(reports, settings),
        ),
    )


def _judge(
    subject: _Subject,
    timed: Sequence[Prepared],
    for_npus: ForNpus,
    settings: MeasureSettings,
    progress: Progress,
) -> tuple[MeasureFacts, list[VariantReport], list[NpuVariant]]:
    """Measures what can be timed here, and evaluates everything."""
    examples, metrics, labels = subject.examples, subject.metrics, subject.labels
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_start(entry, settings, progress)) for entry in timed]
        measurements = measure(workers, examples.timed, settings, progress)
        # Only once nothing is timed any more.
        judges = {
            index: stack.enter_context(_start(for_npus.prepared[index], settings, progress))
            for index in dict.fromkeys(for_npus.judged_as)
        }
        evaluations = evaluate(
            [*workers, *judges.values()],
            examples,
            len(examples),
            examples.description,
            metrics,
            labels=labels,
            progress=progress,
        )
        count = len(workers)
        judged = dict(zip(judges, evaluations[count:], strict=True))
        reports = variant_reports(
            timed, workers, measurements, evaluations[:count], metrics, labels, examples.batch
        )
    npu = npu_variants(
        for_npus.prepared,
        [judged[index] for index in for_npus.judged_as],
        evaluations[0],
        metrics,
        labels,
    )
    return measure_facts(settings, measurements, examples), reports, npu


def _start(entry: Prepared, settings: MeasureSettings, progress: Progress) -> Worker:
    progress(f"loading {entry.variant.name}", 0, 0)
    return Worker(
        entry.variant.name,
        entry.variant.engine,
        entry.path,
        threads=settings.threads,
        cpus=settings.cpus,
    )


def _as_metric(metric: Metric | str) -> Metric:
    return metric_by_name(metric) if isinstance(metric, str) else metric


def _as_variant(variant: Variant | RecipeLike, target: str | None) -> Variant:
    return variant if isinstance(variant, Variant) else Variant.ingot(variant, target=target)


def _as_file(model: str | Path | onnx.ModelProto | ir.Model, folder: Path) -> Path:
    if isinstance(model, (str, Path)):
        return Path(model)
    path = folder / "model.onnx"
    save(read_proto(model) if isinstance(model, onnx.ModelProto) else model, path)
    return path


def _settings(threads: int | None, runs: int, seconds: float) -> MeasureSettings:
    count = usable_cpus() if threads is None else threads
    # Checks the number of threads before CPUs are chosen for them.
    plain = MeasureSettings(threads=count, cpus=(), runs=runs, seconds=seconds)
    return MeasureSettings(
        threads=plain.threads, cpus=choose_cpus(plain.threads), runs=runs, seconds=seconds
    )


def _main_variant(reports: Sequence[VariantReport], npu: Sequence[NpuVariant]) -> str:
    """Whom the headline is about: Ingot's fastest; if none was timed, what is for an NPU."""
    own = [entry for entry in reports[1:] if entry.engine == "ingot"]
    if npu and not own:
        return max(npu, key=lambda entry: entry.estimate.inferences_per_second or 0.0).name
    return max(own or reports[1:], key=_speed).name


def _speed(variant: VariantReport) -> float:
    assert variant.speed is not None
    return variant.speed.value
