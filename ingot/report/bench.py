"""Timing an artifact against its peers: one row of a benchmark's table."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydantic

from ingot import statistics
from ingot.compiler.ingest import Ingested, ingest
from ingot.compiler.open_dimensions import bind_shapes
from ingot.errors import UsageError
from ingot.files import temporary_folder
from ingot.onnx_graph.shape_inference import infer_shapes
from ingot.passes.storage import save
from ingot.progress import Progress, no_progress
from ingot.report.assembly import latency, model_facts
from ingot.report.examples import Examples, closed_shapes
from ingot.report.measure import Measurement, MeasureSettings, measure
from ingot.report.process import InputSpec, Worker, WorkerName
from ingot.report.schema import Latency
from ingot.report.variants import Prepared, Variant, prepare
from ingot.report.workers.protocol import Array
from ingot.runtime import Manifest

# What gives the peak of what an artifact of a precision multiplies mostly; else that of float32.
_PROBES: dict[str, WorkerName] = {"int8": "integer_probe", "bf16": "bfloat16_probe"}


class BenchRow(pydantic.BaseModel):
    """A row of a benchmark's table. Times in milliseconds, sizes in MB (10^6 bytes).

    Attributes:
        model: The model's name.
        precision: Of the artifact.
        recipe: Name of the recipe that it was compiled with.
        target: What it was compiled for.
        threads: Threads per inference.
        batch: Examples per inference.
        ingot_ms: Ingot's median.
        peers: The peers' medians by name; of a peer's several variants that of the fastest.
        ratio: The best peer's median ÷ Ingot's; above 1 Ingot is faster. None without peers.
        ratio_low: Lower end of its 95 % interval.
        ratio_high: Upper end.
        percent_of_roofline: The model's operations per second, a multiply-add being two, as a
            percentage of ``peak_gops``; None where its operations are not known.
        peak_gops: This machine's peak in 10^9 operations per second, of 8-bit integers where the
            artifact's precision is int8, else of float32, by bursts of multiply-adds that took
            turns with the variants: the best of each round, median over rounds; None likewise.
        compile_s: Seconds to compile; None for an artifact that was there before.
        artifact_mb: Size of the artifact.
        peak_rss_mb: Peak resident memory of Ingot's fresh process.
        peer_peak_rss_mb: The same of the best peer.
        peers_peak_rss_mb: The same of each peer, by name.
        latency: All of each side's latency, by name, ``ingot`` among them.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    precision: str
    recipe: str = ""
    target: str = ""
    threads: int
    batch: int
    ingot_ms: float
    peers: dict[str, float]
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    percent_of_roofline: float | None
    peak_gops: float | None
    compile_s: float | None
    artifact_mb: float
    peak_rss_mb: float
    peer_peak_rss_mb: float | None
    peers_peak_rss_mb: dict[str, float]
    latency: dict[str, Latency]


def bench(
    model: Path | None,
    *,
    artifact: Path | None = None,
    variant: Variant | None = None,
    name: str,
    against: Sequence[str] = (),
    settings: Sequence[MeasureSettings],
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress = no_progress,
) -> list[BenchRow]:
    """Times a model compiled by Ingot, or an artifact, against peers on random inputs.

    A model is compiled for the shape that it is timed on: ``shapes``, an open batch being one.
    Where Ingot's code is for a fixed shape, the peers are given the model bound to the same shape.

    Args:
        model: The ``.onnx`` file; peers need it, an artifact alone does not.
        artifact: An artifact to time instead of compiling the model.
        variant: How the model is compiled; by default ``fp32``.
        name: The model's name in the rows.
        against: The peers.
        settings: How to measure, once per row.
        shapes: What symbolic dimensions are bound to.
        progress: Told what is being done.

    Returns:
        A row for each of the settings, in order.

    Raises:
        UsageError: A peer is unknown, not installed, or there is no model for it; or what is
            timed is for an NPU.
        IngotError: The model cannot be compiled, or a variant failed.
    """
    own = Variant.compiled(artifact) if artifact is not None else variant or Variant.ingot("fp32")
    if own.for_npu:
        raise UsageError(
            f"{own.name} is for an NPU, and cannot be timed here: `ingot report` and `ingot "
            "inspect` show what Vela estimates"
        )
    peers = [Variant.peer(peer) for peer in against]
    source = None if model is None else ingest(model, shapes=shapes, simplified=False)
    shapes = dict(shapes or {})
    if source is not None and artifact is None:
        shapes = closed_shapes(source.original, shapes)
    with temporary_folder("ingot-bench-") as scratch:
        folder = Path(scratch)
        prepared = [prepare(own, model, 0, folder, shapes=shapes, progress=progress)]
        assert prepared[0].manifest is not None
        specs = input_specs(prepared[0].manifest)
        inputs = _inputs(source, specs, shapes)
        size = 0
        if source is not None and model is not None and peers:
            size = model_facts(source, model, name).size_bytes
            if not any(_is_open(spec.shape) for spec in specs):
                model = bound_model(source, model, inputs, folder / f"{model.stem}.onnx")
        prepared += [prepare(peer, model, size, folder) for peer in peers]
        return [time_prepared(name, prepared, inputs, entry, progress)[0] for entry in settings]


def input_specs(manifest: Manifest) -> list[InputSpec]:
    """The inputs that an artifact states."""
    return [InputSpec(spec.name, spec.dtype, spec.shape) for spec in manifest.inputs]


def _inputs(
    source: Ingested | None, specs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]]
) -> Mapping[str, Array]:
    """Random inputs of the artifact's own shapes where they are fixed."""
    if source is None:
        return random_arrays(specs, shapes)
    fixed = {spec.name: _sizes(spec.shape) for spec in specs if not _is_open(spec.shape)}
    return Examples(None, source, {**fixed, **shapes}).timed


def _is_open(shape: Sequence[int | str]) -> bool:
    return any(isinstance(size, str) for size in shape)


def _sizes(shape: Sequence[int | str]) -> tuple[int, ...]:
    return tuple(size for size in shape if isinstance(size, int))


def bound_model(source: Ingested, model: Path, inputs: Mapping[str, Array], output: Path) -> Path:
    """Writes a model that is bound to the shapes of inputs, for engines that gain by it.

    Args:
        source: The model as it was read from ``model``.
        model: Its file.
        inputs: Arrays of the shapes.
        output: The file to write.

    Returns:
        ``output``, or ``model`` itself where it has no open dimension.
    """
    graph = source.original.graph
    given = [value.shape for value in graph.inputs if not value.is_initializer()]
    if all(shape is not None and shape.is_static() for shape in given):
        return model
    bound = source.original.clone()
    bind_shapes(bound, {name: array.shape for name, array in inputs.items()})
    infer_shapes(bound)
    save(bound, output)
    return output


def random_arrays(
    specs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]], seed: int = 0
) -> dict[str, Array]:
    """Random inputs from what an artifact says of its inputs.

    Floats are drawn from the standard normal distribution, integers and booleans from {0, 1}.

    Raises:
        UsageError: An open dimension but the first has no shape, or a shape does not fit.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in specs:
        given = shapes.get(spec.name)
        sizes = [
            1 if axis == 0 and isinstance(size, str) else size
            for axis, size in enumerate(spec.shape)
        ]
        shape = tuple(given or [size for size in sizes if isinstance(size, int)])
        if len(shape) != len(sizes):
            example = "x".join(str(size) if isinstance(size, int) else "…" for size in sizes)
            raise UsageError(
                f"input {spec.name} has the dimensions [{', '.join(map(str, spec.shape))}]: give "
                f"its shape with --shape {spec.name}={example}"
            )
        dtype = np.dtype(spec.dtype)
        values = (
            generator.standard_normal(shape)
            if dtype.kind == "f"
            else generator.integers(0, 2, shape)
        )
        arrays[spec.name] = np.asarray(values).astype(dtype)
    return arrays


def time_prepared(
    name: str,
    prepared: Sequence[Prepared],
    inputs: Mapping[str, Array],
    settings: MeasureSettings,
    progress: Progress = no_progress,
) -> tuple[BenchRow, list[Measurement]]:
    """Times variants in turn, each in a process of its own.

    Args:
        name: The model's name in the row.
        prepared: The artifact that the row is of, then its peers. A peer may have more than one
            variant: the fastest counts. Other artifacts of Ingot are timed too, and are no peers.
            No two have the same name.
        inputs: What all run on.
        settings: How to measure.
        progress: Told what is being done.

    Returns:
        The row, and the measurement of each variant, in order.

    Raises:
        IngotError: A variant failed.
    """
    manifest = prepared[0].manifest
    operations = None if manifest is None else manifest.operations
    peak_gops = None
    with contextlib.ExitStack() as stack:

        def start(name: str, engine: WorkerName, path: Path) -> Worker:
            worker = Worker(name, engine, path, threads=settings.threads, cpus=settings.cpus)
            return stack.enter_context(worker)

        workers = [start(each.variant.name, each.variant.engine, each.path) for each in prepared]
        probe = _PROBES.get(prepared[0].precision, "probe")
        probes = [start("the probe", probe, prepared[0].path)] if operations else []
        measured = measure([*workers, *probes], inputs, settings, progress)
    if probes:
        burst = float(np.median([taken.min() for taken in measured.pop().rounds]))
        peak_gops = probes[0].facts["operations"] / burst / 1e6
    row = _row(name, prepared, measured, settings.threads, _batch(inputs))
    percent = _percent(operations, row.ingot_ms, peak_gops)
    facts = {"percent_of_roofline": percent, "peak_gops": peak_gops}
    return row.model_copy(update=facts), measured


def _row(
    name: str,
    prepared: Sequence[Prepared],
    measured: Sequence[Measurement],
    threads: int,
    batch: int,
) -> BenchRow:
    """The row of what was measured, without what the probe says."""
    own, peers = measured[0], _fastest(prepared[1:], measured[1:])
    best = min(peers.values(), key=_median, default=None)
    ratio = None if best is None else statistics.ratio_of_medians(best.rounds, own.rounds)
    build = prepared[0].build
    return BenchRow(
        model=name,
        precision=prepared[0].precision,
        recipe="" if build is None else str(build.recipe.get("name", "")),
        target="" if build is None else build.target,
        threads=threads,
        batch=batch,
        ingot_ms=_median(own),
        peers={engine: _median(peer) for engine, peer in peers.items()},
        ratio=None if ratio is None else ratio.value,
        ratio_low=None if ratio is None else ratio.low,
        ratio_high=None if ratio is None else ratio.high,
        percent_of_roofline=None,
        peak_gops=None,
        compile_s=None if build is None else build.seconds,
        artifact_mb=prepared[0].size_bytes / 1e6,
        peak_rss_mb=own.peak_bytes / 1e6,
        peer_peak_rss_mb=None if best is None else best.peak_bytes / 1e6,
        peers_peak_rss_mb={engine: peer.peak_bytes / 1e6 for engine, peer in peers.items()},
        latency={engine: latency(m) for engine, m in {"ingot": own, **peers}.items()},
    )


def _fastest(
    prepared: Sequence[Prepared], measured: Sequence[Measurement]
) -> dict[str, Measurement]:
    """The fastest variant of each peer, by the peer's engine."""
    fastest: dict[str, Measurement] = {}
    for entry, found in zip(prepared, measured, strict=True):
        engine = entry.variant.engine
        known = fastest.get(engine)
        if engine != "ingot" and (known is None or _median(found) < _median(known)):
            fastest[engine] = found
    return fastest


def _median(measured: Measurement) -> float:
    return float(np.median(measured.milliseconds))


def _percent(operations: int | None, milliseconds: float, peak_gops: float | None) -> float | None:
    if operations is None or peak_gops is None:
        return None
    return 100.0 * operations / (milliseconds * 1e6) / peak_gops


def _batch(inputs: Mapping[str, Array]) -> int:
    sizes = {array.shape[0] if array.ndim else 1 for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 1
