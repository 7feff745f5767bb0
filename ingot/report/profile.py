"""Where the time of an inference goes, kernel by kernel, against what this machine can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydantic

from ingot.compiler.ingest import ingest
from ingot.files import temporary_folder
from ingot.progress import Progress, no_progress
from ingot.report.bench import input_specs, random_arrays
from ingot.report.examples import closed_shapes
from ingot.report.hints import hints
from ingot.report.variants import Variant, prepare
from ingot.runtime import Session
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.manifest import REGION_PREFIX, KernelCost, Manifest
from ingot.runtime.profiler import KernelTime, profile
from ingot.targets.cpu.cost import multiplied
from ingot.targets.cpu.probe import Probe, Roofline


class KernelRow(pydantic.BaseModel):
    """A kernel's row of a profile. What its cost decides is None where the cost is not known.

    Attributes:
        kernel: Its name in the code.
        operators: What it computes.
        calls: How often an inference calls it.
        ms: Milliseconds of all its calls in an inference, median.
        share: Its part of the time of all kernels.
        gops: Operations per second, in 10^9; a multiply-add is two.
        gbs: Bytes of inputs and outputs per second, in 10^9.
        percent_of_roofline: The least time that this machine would take, by its peaks, as a
            percentage of the time taken. Operations of kernels of 8-bit integers and of bfloat16
            take the peaks of these, others that of float32.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    kernel: str
    operators: str | None
    calls: int
    ms: float
    share: float
    gops: float | None
    gbs: float | None
    percent_of_roofline: float | None


class ModelProfile(pydantic.BaseModel):
    """A model's profile.

    Attributes:
        model: The model's name.
        precision: Of the artifact.
        threads: Threads per inference.
        input_shapes: What it was run on.
        inferences: How many inferences were timed.
        ms: Milliseconds of a whole inference without measuring its kernels, median.
        kernels_ms: Milliseconds of all kernels.
        gops: Operations per second of the whole inference, in 10^9.
        percent_of_roofline: The least time that this machine would take for all kernels, as a
            percentage of the time of the whole inference.
        roofline: The peaks: the mean of those measured right before and right after.
        rows: The kernels, the longest first.
        hints: Known causes that it shows, with what to do.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    precision: str
    threads: int
    input_shapes: dict[str, tuple[int, ...]]
    inferences: int
    ms: float
    kernels_ms: float
    gops: float | None
    percent_of_roofline: float | None
    roofline: Roofline
    rows: tuple[KernelRow, ...]
    hints: tuple[str, ...] = ()


def profile_model(
    model: Path | None,
    *,
    artifact: Path | None = None,
    variant: Variant | None = None,
    name: str,
    threads: int | None = None,
    runs: int = 20,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress = no_progress,
) -> ModelProfile:
    """Profiles a model compiled by Ingot, or an artifact, on random inputs.

    A model is compiled for the shape it is profiled on: ``shapes``, an open batch being one.

    Args:
        model: The ``.onnx`` file; None for an artifact.
        artifact: An artifact to profile instead of compiling the model.
        variant: How the model is compiled; by default ``fp32``.
        name: The model's name.
        threads: Threads per inference; None for as many as this process may run at once.
        runs: Inferences to time.
        shapes: What symbolic dimensions are bound to.
        progress: Told each step.

    Raises:
        UsageError: A dimension is open.
        IngotError: The model cannot be compiled or the artifact cannot be run.
    """
    own = Variant.compiled(artifact) if artifact is not None else variant or Variant.ingot("fp32")
    shapes = dict(shapes or {})
    if artifact is None and model is not None:
        shapes = closed_shapes(ingest(model, shapes=shapes, simplified=False).original, shapes)
    with temporary_folder("ingot-profile-") as folder:
        prepared = prepare(own, model, 0, Path(folder), shapes=shapes, progress=progress)
        session = Session(prepared.path, threads=threads)
    with session:
        inputs = random_arrays(input_specs(session.manifest), shapes)
        progress(f"timing the kernels of {name}", 0, 0)
        probe = Probe()
        before = probe.roofline(session.threads)
        measured = profile(session, inputs, inferences=runs)
        roofline = before.mean_with(probe.roofline(session.threads))
        costs = {**session.manifest.kernels, **_region_costs(session.manifest)}
    pairs = [(kernel, costs.get(kernel.name)) for kernel in measured.kernels]
    operations = _sum(_operations(kernel, cost) for kernel, cost in pairs)
    least = _sum(_least_seconds(kernel, cost, roofline) for kernel, cost in pairs)
    found = ModelProfile(
        model=name,
        precision=prepared.precision,
        threads=session.threads,
        input_shapes={key: array.shape for key, array in inputs.items()},
        inferences=measured.inferences,
        roofline=roofline,
        ms=measured.seconds * 1e3,
        kernels_ms=sum(kernel.seconds for kernel in measured.kernels) * 1e3,
        gops=_rate(operations, measured.seconds),
        percent_of_roofline=_percent(least, measured.seconds),
        rows=tuple(_row(kernel, cost, roofline) for kernel, cost in pairs),
    )
    plain = session.manifest.placement.get("cpu", {}).get("unscheduled", ())
    told = hints(found, usable_cpus=usable_cpus(), plain_loops=plain)
    return found.model_copy(update={"hints": told})


def _region_costs(manifest: Manifest) -> dict[str, KernelCost]:
    """What is known of the regions that ONNX Runtime runs, by the name that code calls them by."""
    return {
        REGION_PREFIX + name: KernelCost(f"{len(region.nodes)} in ONNX Runtime", None, None, 1)
        for name, region in manifest.regions.items()
        if region.executor != "npu"
    }


def _row(kernel: KernelTime, cost: KernelCost | None, roofline: Roofline) -> KernelRow:
    least = _least_seconds(kernel, cost, roofline)
    operations = _operations(kernel, cost)
    size = None if cost is None or cost.bytes is None else kernel.calls * cost.bytes
    return KernelRow(
        kernel=kernel.name,
        operators=None if cost is None else cost.operators,
        calls=kernel.calls,
        ms=kernel.seconds * 1e3,
        share=kernel.share,
        gops=_rate(operations, kernel.seconds),
        gbs=_rate(size, kernel.seconds),
        percent_of_roofline=_percent(least, kernel.seconds),
    )


def _operations(kernel: KernelTime, cost: KernelCost | None) -> float | None:
    """Operations of all of a kernel's calls in an inference."""
    return None if cost is None or cost.operations is None else kernel.calls * cost.operations


def _least_seconds(kernel: KernelTime, cost: KernelCost | None, roofline: Roofline) -> float | None:
    if cost is None or cost.operations is None or cost.bytes is None:
        return None
    kind = multiplied(cost.operators)
    return kernel.calls * roofline.seconds(cost.operations, cost.bytes, kind)


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum, or None where one value is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _rate(work: float | None, seconds: float) -> float | None:
    """Work per nanosecond; None also for a kernel that most inferences do not call."""
    return None if work is None or not seconds else work / seconds / 1e9


def _percent(least: float | None, seconds: float) -> float | None:
    return None if least is None or not seconds else 100.0 * least / seconds
