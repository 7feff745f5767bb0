"""What a report holds: ``report.json`` is this, and the pages are drawn from nothing else.

Sizes are in bytes and latencies in milliseconds. The schema has a version; a field's meaning never
changes within one.
"""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from ingot.compiler.accuracy.budget_record import BudgetFacts
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.compiler.optimization_record import Optimization
from ingot.passes.record import PassRecord
from ingot.report.npu import NpuEstimate

SCHEMA_VERSION: Literal[1] = 1


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Figure(_Model):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Latency(_Model):
    """Times of single inferences, in milliseconds.

    Attributes:
        median: With the interval over rounds.
        p95: None when there are fewer than 20 runs.
        p99: None when there are fewer than 100 runs.
        runs: Number of timed inferences.
        rounds: Every timed inference, round by round, in the order they ran.
        warm_up_runs: Inferences before, which are not in ``rounds``.
        stable: Whether the warm-up ended because the times had settled.
    """

    median: Figure
    p95: float | None
    p99: float | None
    runs: int
    rounds: tuple[tuple[float, ...], ...]
    warm_up_runs: int
    stable: bool


class Memory(_Model):
    """Resident memory of the variant's own process, in bytes.

    Attributes:
        peak: The most it had, after loading and all timed runs.
        baseline: What it had after the imports, before loading the model.
    """

    peak: int
    baseline: int


class UsageFigures(_Model):
    """What a variant took of the machine while it was timed.

    Attributes:
        cpu_percent: Of all its threads; 100 is one CPU busy.
        gpu_percent: Of the machine's busiest GPU.
        watts: Mean power of what ``power_source`` names, other processes' part in it.
        joules_per_inference: Of the same.
        power_source: What the power was read from, and of what it is; empty without.
        unavailable: Why a figure is None, by its name.
    """

    cpu_percent: float
    gpu_percent: float | None
    watts: float | None
    joules_per_inference: float | None
    power_source: str
    unavailable: dict[str, str]


class MetricFigures(_Model):
    """A metric of one variant, and its difference from the reference on the same examples.

    Attributes:
        name: The metric's name.
        unit: Of all its values ("%"; differences are then in percentage points).
        higher_is_better: The direction.
        n: Number of examples.
        value: With the interval over the choice of examples.
        difference: Variant minus reference, paired; None for the reference itself.
        identical: On how many examples the prediction is the same; None for the reference.
        only_reference_right: Examples that only the reference got right, where that is a question.
        only_variant_right: The other way round.
        p_value: Of McNemar's exact test that both are as likely.
    """

    name: str
    unit: str
    higher_is_better: bool
    n: int
    value: Figure
    difference: Figure | None = None
    identical: int | None = None
    only_reference_right: int | None = None
    only_variant_right: int | None = None
    p_value: float | None = None


class Agreement(_Model):
    """How near the outputs are to the reference's, whatever the labels.

    Attributes:
        examples: On how many examples; ``source`` says which.
        source: The data, or random inputs.
        exact: Whether all outputs are equal bit by bit.
        finite: Whether no output is infinite or no number where the reference's is finite.
        max_abs_error: The largest absolute difference of an element; None when not finite.
        sqnr_db: Signal to (quantization) noise of the worst output in decibels; None when exact
            or not finite.
        worst_output: Name of that output; None when exact.
        blank_output: Name of an output that is finite nowhere in the reference, so that equal says
            nothing; None where there is none.
    """

    examples: int
    source: str
    exact: bool
    finite: bool
    max_abs_error: float | None
    sqnr_db: float | None
    worst_output: str | None
    blank_output: str | None = None


class Quantization(_Model):
    """What quantization did to the layers.

    Attributes:
        layers: Each layer, in order.
        output_sqnr_db: Signal to quantization noise of each output; None when equal.
        samples: Samples that noise was measured on.
        budget: How the accuracy budget was held; None without one.
    """

    layers: tuple[LayerSensitivity, ...]
    output_sqnr_db: dict[str, float | None]
    samples: int
    budget: BudgetFacts | None = None


class Build(_Model):
    """How an artifact came to be.

    Attributes:
        seconds: From the model to the artifact, by the clock; None for one that was there before.
        stage_seconds: The stages, as the compiler timed them.
        recipe: The recipe as it was used.
        target: The target's specification.
        placement: Which nodes run where.
        passes: What each pass did.
        notes: What was tried and dropped on the way in.
        tools: Versions of the tools that made it.
        quantization: What it did to the layers; None where nothing was quantized.
        optimization: What was tried on the way to it; None where the recipe was given.
    """

    seconds: float | None
    stage_seconds: dict[str, float]
    recipe: dict[str, Any]
    target: str
    placement: dict[str, Any]
    passes: tuple[PassRecord, ...]
    notes: tuple[str, ...]
    tools: dict[str, str]
    quantization: Quantization | None = None
    optimization: Optimization | None = None


class VariantReport(_Model):
    """All of one variant.

    Attributes:
        name: The variant's name, unique in the report.
        engine: ``ingot``, ``onnxruntime``, ``openvino`` or ``openvino_bf16``.
        engine_version: Of the engine's package.
        precision: Of weights and activations.
        size_bytes: Of the artifact, or of the ONNX file with its external data.
        load_seconds: From file to ready, imports left out.
        latency: Of single inferences.
        throughput: Examples per second, one inference after another.
        speed: How many times as fast as the reference (its median ÷ this one's); None for the
            reference itself.
        memory: Of a fresh process.
        metrics: What it was judged by.
        agreement: With the reference's outputs; None for the reference itself.
        build: How it was compiled; None for a peer.
        usage: What it took of the machine; None in reports of before this was measured.
    """

    name: str
    engine: Literal["ingot", "onnxruntime", "openvino", "openvino_bf16"]
    engine_version: str
    precision: str
    size_bytes: int
    load_seconds: float
    latency: Latency
    throughput: float
    speed: Figure | None
    memory: Memory
    metrics: tuple[MetricFigures, ...]
    agreement: Agreement | None
    build: Build | None
    usage: UsageFigures | None = None


class NpuVariant(_Model):
    """The model compiled for an NPU: judged by its reference model, and not timed.

    Attributes:
        name: The variant's name, unique in the report.
        precision: Of weights and activations.
        size_bytes: Of the artifact.
        estimate: Of its cost; never a measured time.
        metrics: What its outputs, bit by bit those of the NPU, were judged by.
        agreement: With the reference variant's outputs.
        build: How it was compiled.
    """

    name: str
    precision: str
    size_bytes: int
    estimate: NpuEstimate
    metrics: tuple[MetricFigures, ...]
    agreement: Agreement
    build: Build


class TensorFacts(_Model):
    """An input: name, dtype and shape, symbols as strings."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class ModelFacts(_Model):
    """The source model."""

    name: str
    sha256: str
    size_bytes: int
    opset: int
    nodes: int
    inputs: tuple[TensorFacts, ...]


class DataFacts(_Model):
    """The data that the variants were judged on."""

    description: str
    sha256: str
    examples: int
    labelled: bool


class MachineFacts(_Model):
    """Where it was measured; what a reader needs to judge the times.

    Attributes:
        cpu: The model's name.
        features: Instruction-set extensions that matter to inference.
        physical_cores: Of the machine.
        logical_cpus: Of the machine.
        memory_bytes: Of the machine.
        governor: Frequency governor, where the system tells it.
        virtual: Whether it is a virtual machine.
        system: Operating system and kernel.
        python: Version of Python.
        versions: Versions of the packages that matter.
        load_average: Over the last minute, before measuring.
    """

    cpu: str
    features: tuple[str, ...]
    physical_cores: int | None
    logical_cpus: int
    memory_bytes: int
    governor: str | None
    virtual: bool
    system: str
    python: str
    versions: dict[str, str]
    load_average: float


class MeasureFacts(_Model):
    """How it was measured."""

    threads: int
    cpus: tuple[int, ...]
    batch: int
    rounds: int
    input_shapes: dict[str, tuple[int, ...]]
    input_source: str


class Check(_Model):
    """A threshold or a budget that a build pipeline holds the report to, for one variant.

    Attributes:
        rule: As the user wrote it.
        variant: Whom it was applied to.
        value: What was found, in the rule's unit; None when it could not be told.
        low: Lower end of the value's 95 % interval, where it has one.
        high: Upper end; None too where so few runs do not bound it.
        failed: Whether the build fails: a threshold when the value is in the range that fails or
            could not be told; a budget when all of the interval lies beyond it.
        told: Whether it could be told; not where a budget lies within the interval.
        explanation: In words.
    """

    rule: str
    variant: str
    value: float | None
    low: float | None
    high: float | None
    failed: bool
    told: bool = True
    explanation: str

    @property
    def outcome(self) -> Literal["failed", "passed", "cannot be told"]:
        """The outcome in words."""
        if self.failed:
            return "failed"
        return "passed" if self.told else "cannot be told"


class ReportContents(_Model):
    """A comparison of variants of one model.

    Attributes:
        schema_version: Version of this schema.
        ingot_version: What made the report.
        created: When, in UTC (ISO 8601).
        model: The source model.
        data: What it was judged on; None when outputs were compared on random inputs alone.
        machine: Where it was measured.
        measuring: How it was measured.
        reference: Name of the variant that the others are compared with.
        variants: What was timed, the reference first.
        npu: What an NPU is to run, with estimates instead of times.
        headline: The finding in one sentence.
        verdicts: One sentence for each variant but the reference, those for an NPU last.
        checks: The thresholds and budgets that were asked for.
        warnings: What a reader should know before trusting the figures.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    ingot_version: str
    created: str
    model: ModelFacts
    data: DataFacts | None
    machine: MachineFacts
    measuring: MeasureFacts
    reference: str
    variants: tuple[VariantReport, ...]
    npu: tuple[NpuVariant, ...] = ()
    headline: str
    verdicts: tuple[str, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no threshold failed and no budget is broken."""
        return not any(check.failed for check in self.checks)

    def to_json(self) -> str:
        """The report as JSON, indented."""
        return self.model_dump_json(indent=1) + "\n"
