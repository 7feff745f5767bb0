"""Timing an artifact against its peers: one row of a benchmark's table."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydantic

from ingot.compiler.ingest import Ingested, ingest
from ingot.errors import UsageError
from ingot.report import statistics
from ingot.report.assembly import latency, model_facts
from ingot.report.examples import Examples
from ingot.report.measure import MeasureSettings, Progress, measure
from ingot.report.process import InputSpec, Worker
from ingot.report.schema import Latency
from ingot.report.variants import Prepared, Variant, prepare
from ingot.report.workers.protocol import Array


class BenchRow(pydantic.BaseModel):
    """A row of a benchmark's table. Times in milliseconds, sizes in MB (10^6 bytes).

    Attributes:
        model: The model's name.
        precision: Of the artifact.
        threads: Threads per inference.
        batch: Examples per inference.
        ingot_ms: Ingot's median.
        peers: The peers' medians by name.
        ratio: The best peer's median ÷ Ingot's; above 1 Ingot is faster. None without peers.
        ratio_low: Lower end of its 95 % interval.
        ratio_high: Upper end.
        percent_of_roofline: None: this command does not measure the machine's peak.
        compile_s: Seconds to compile; None for an artifact that was there before.
        artifact_mb: Size of the artifact.
        peak_rss_mb: Peak resident memory of Ingot's fresh process.
        peer_peak_rss_mb: The same of the best peer.
        latency: All of each side's latency, by name, ``ingot`` among them.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    precision: str
    threads: int
    batch: int
    ingot_ms: float
    peers: dict[str, float]
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    percent_of_roofline: float | None = None
    compile_s: float | None
    artifact_mb: float
    peak_rss_mb: float
    peer_peak_rss_mb: float | None
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
    progress: Progress | None = None,
) -> list[BenchRow]:
    """Times a model compiled by Ingot, or an artifact, against peers on random inputs.

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
        UsageError: A peer is unknown, not installed, or there is no model for it.
        IngotError: The model cannot be compiled, or a variant failed.
    """
    own = Variant.compiled(artifact) if artifact is not None else variant or Variant.ingot("fp32")
    chosen = [own, *(Variant.peer(peer) for peer in against)]
    source = None if model is None else ingest(model, shapes=shapes, simplified=False)
    size = 0
    if source is not None and model is not None:
        size = model_facts(source, model, name).size_bytes
    with tempfile.TemporaryDirectory(prefix="ingot-bench-") as scratch:
        tell = None if progress is None else lambda what: progress(what, 0, 0)
        prepared = [
            prepare(entry, model, size, Path(scratch), shapes=shapes, tell=tell) for entry in chosen
        ]
        return [_row(name, prepared, source, entry, shapes, progress) for entry in settings]


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


def _row(
    name: str,
    prepared: Sequence[Prepared],
    source: Ingested | None,
    settings: MeasureSettings,
    shapes: Mapping[str, Sequence[int]] | None,
    progress: Progress | None,
) -> BenchRow:
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(
                    entry.variant.name,
                    entry.variant.engine,
                    entry.path,
                    threads=settings.threads,
                    cpus=settings.cpus,
                )
            )
            for entry in prepared
        ]
        if source is not None:
            inputs = Examples(None, source, shapes).timed
        else:
            inputs = random_arrays(workers[0].inputs, shapes or {})
        measured = measure(workers, inputs, settings, progress)
    own, peers = measured[0], measured[1:]
    medians = {m.name: float(np.median(m.milliseconds)) for m in measured}
    best = min(peers, key=lambda peer: medians[peer.name], default=None)
    ratio = None if best is None else statistics.ratio_of_medians(best.rounds, own.rounds)
    build = prepared[0].build
    engines = {entry.variant.name: entry.variant.engine for entry in prepared}
    return BenchRow(
        model=name,
        precision=prepared[0].precision,
        threads=settings.threads,
        batch=_batch(inputs),
        ingot_ms=medians[own.name],
        peers={engines[peer.name]: medians[peer.name] for peer in peers},
        ratio=None if ratio is None else ratio.value,
        ratio_low=None if ratio is None else ratio.low,
        ratio_high=None if ratio is None else ratio.high,
        compile_s=None if build is None else build.seconds,
        artifact_mb=prepared[0].size_bytes / 1e6,
        peak_rss_mb=own.peak_bytes / 1e6,
        peer_peak_rss_mb=None if best is None else best.peak_bytes / 1e6,
        latency={engines[m.name]: latency(m) for m in measured},
    )


def _batch(inputs: Mapping[str, Array]) -> int:
    sizes = {array.shape[0] if array.ndim else 1 for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 1
