"""Latency of the reference models on this CPU in int8, against ONNX Runtime and OpenVINO.

Each model is quantized and compiled by Ingot, and timed in turn with its peers and with Ingot's own
fp32, in processes of their own on the same CPUs and with the same number of threads. A peer runs
what its own quantizer made of the model, and the graph that Ingot made: the faster of these counts.
ONNX Runtime's own is its static quantization, of transformers its dynamic quantization too;
OpenVINO's is NNCF, and where that is not installed ONNX Runtime's static one. The table says behind
each time whose model it is of. Peers run at their best settings and get models bound to the shape
that is timed; OpenVINO runs twice where the CPU has bfloat16, with what stays float in it (its
default there) and in float32.

Run it on an otherwise idle machine, for the whole table:

    python benchmarks/cpu_int8.py --data DIR --json cpu_int8.json

or for a part: --models resnet50,minilm --threads 1 --batch 1,8. DIR holds imagenet_calib/ (images)
and sst2/train_6000.tsv; models without preprocessing are calibrated with random inputs, since their
weights are random. It needs the package openvino beside ingot[compile]; --against onnxruntime does
without. `compile s` includes calibration on --calibration-limit samples and quantization.

How fast all of them are without AMX, a machine with AMX tells with --against onnxruntime,openvino
--target cpu:mcpu=icelake-server and ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI in the environment. ONNX
Runtime has no such switch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calibration_data import calibration_data, data_folder
from benchmarks.latency import (
    PEERS,
    input_shapes,
    interval_cell,
    latency_cells,
    latency_headings,
    latency_options,
    measure_settings,
    memory_cell,
    ratio_cell,
    run_benchmark,
    seconds_cell,
)
from benchmarks.peer_quantizers import PeerError, quantized_by, reads_tokens
from benchmarks.tables import markdown_table
from ingot import statistics
from ingot.cli.source import find_model
from ingot.compiler.ingest import Ingested, ingest
from ingot.compiler.inputs import random_inputs
from ingot.data import Dataset
from ingot.data.arrays import ArrayDataset
from ingot.errors import IngotError, UsageError
from ingot.files import CACHE_VARIABLE
from ingot.models.catalog import ModelSource
from ingot.progress import Progress
from ingot.report.bench import BenchRow, bound_model, time_prepared
from ingot.report.examples import Examples
from ingot.report.measure import Measurement, MeasureSettings, choose_cpus
from ingot.report.process import EngineName, Worker
from ingot.report.rendering import formats
from ingot.report.variants import Prepared, Variant, prepare
from ingot.report.workers.protocol import Array

INGOT = "ingot"
LABELS = {
    INGOT: "Ingot",
    "onnxruntime": "ORT static",
    "onnxruntime_dynamic": "ORT dynamic",
    "nncf_openvino": "NNCF",
}
# Fewer samples than accuracy asks for: how fast the code is does not depend on them.
SAMPLES = 32


class Int8Row(BenchRow):
    """A row of this benchmark's table: one of a table of latencies, of the int8 artifact, and more.

    Attributes:
        peers_by_quantizer: Each peer's median in ms by who quantized the model, of all that it ran.
        fp32_ms: The median of Ingot's own fp32.
        fp32_ratio: That ÷ ``ingot_ms``; above 1 int8 is faster.
        fp32_ratio_low: Lower end of its 95 % interval.
        fp32_ratio_high: Upper end.
        fp32_compile_s: Seconds to compile the model in fp32.
        fp32_artifact_mb: Size of the fp32 artifact.
        size_ratio: The int8 artifact's size ÷ that.
        fp32_peak_rss_mb: Peak resident memory of a fresh process of fp32.
    """

    peers_by_quantizer: dict[str, dict[str, float]]
    fp32_ms: float
    fp32_ratio: float
    fp32_ratio_low: float
    fp32_ratio_high: float
    fp32_compile_s: float | None
    fp32_artifact_mb: float
    size_ratio: float
    fp32_peak_rss_mb: float


class PeerModel(NamedTuple):
    """A quantized model that a peer runs."""

    engine: EngineName
    quantizer: str
    prepared: Prepared


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    parser = latency_options(__doc__, tuple(PEERS))
    parser.add_argument(
        "--data", type=Path, default=data_folder(), help="the folder of the data sets"
    )
    parser.add_argument("--calibration-limit", type=int, default=SAMPLES, help="samples at most")
    parser.add_argument("--target", help="what Ingot compiles for, such as cpu:mcpu=icelake-server")
    parser.add_argument(
        "--keep", type=Path, help="a folder for the peers' INT8 models; those in it are used"
    )
    return run_benchmark(parser.parse_args(arguments), _measure, _table)


def _measure(model: str, batch: int, options: argparse.Namespace, tell: Progress) -> list[Int8Row]:
    """The rows of one model and batch, one for each number of threads; compiled once."""
    for peer in options.against:
        Variant.peer(peer)
    model_source = find_model(model)
    shapes = input_shapes(model_source.path, batch)
    source = ingest(model_source.path, shapes=shapes, simplified=False)
    inputs = Examples(None, source, shapes).timed
    calibration = _calibration(model_source, source, inputs, options)
    with tempfile.TemporaryDirectory(prefix="ingot-bench-") as scratch:
        folder = Path(scratch)
        own, graph = _compiled(model_source, shapes, calibration, folder, options.target, tell)
        kept = options.keep / model_source.name if options.keep else folder
        kept.mkdir(parents=True, exist_ok=True)
        peers = []
        for engine in options.against:
            files = _own_models(engine, model_source, calibration, kept, tell)
            peers += _peer_models(engine, {**files, INGOT: graph}, inputs, folder)
        return [
            _row(model_source.name, own, peers, inputs, settings, tell)
            for settings in measure_settings(options)
        ]


def _calibration(
    model: ModelSource,
    source: Ingested,
    inputs: Mapping[str, Array],
    options: argparse.Namespace,
) -> Dataset:
    if model.preprocessing is not None:
        return calibration_data(model, list(inputs), options.data, options.calibration_limit)
    count = options.calibration_limit
    shapes = {name: (1, *array.shape[1:]) for name, array in inputs.items()}
    drawn = [random_inputs(source.original, shapes, seed) for seed in range(count)]
    stacked = {name: np.concatenate([arrays[name] for arrays in drawn]) for name in inputs}
    return ArrayDataset(Path("random inputs"), stacked, None, range(count), None)


def _compiled(
    source: ModelSource,
    shapes: Mapping[str, Sequence[int]],
    calibration: Dataset,
    folder: Path,
    target: str | None,
    tell: Progress,
) -> tuple[list[Prepared], Path]:
    """Ingot's artifacts, int8 and then fp32, and the quantized graph that the first is made of."""
    passes = folder / "passes"

    def compiled(recipe: str, **how: Any) -> Prepared:
        return prepare(
            Variant.ingot(recipe, target=target),
            source.path,
            0,
            folder,
            shapes=shapes,
            progress=lambda what, done, total: tell(f"{source.name}: {what}", done, total),
            **how,
        )

    with _no_statistics_from_before():
        int8 = compiled("int8", calibration=calibration, dump_passes=passes)
    graph = max(passes.glob("*.onnx"))
    for earlier in set(passes.iterdir()) - {graph, Path(f"{graph}.data")}:
        earlier.unlink()
    return [int8, compiled("fp32")], graph


@contextlib.contextmanager
def _no_statistics_from_before() -> Iterator[None]:
    """An empty cache for calibration, so that compiling takes what it takes the first time."""
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="ingot-cache-") as empty:
        os.environ[CACHE_VARIABLE] = empty
        try:
            yield
        finally:
            if before is None:
                del os.environ[CACHE_VARIABLE]
            else:
                os.environ[CACHE_VARIABLE] = before


def _own_models(
    engine: str, source: ModelSource, calibration: Dataset, folder: Path, tell: Progress
) -> dict[str, Path]:
    """What a peer's own quantizers make of a model, by quantizer; says which one fails on it."""

    def quantized(*quantizers: str) -> dict[str, Path]:
        made = {}
        for quantizer in quantizers:
            tell(f"{source.name}: quantized by {LABELS[quantizer]}", 0, 0)
            try:
                made[quantizer] = quantized_by(quantizer, source, calibration, folder)
            except PeerError as error:
                print(f"Not timed: {error}", flush=True)
        return made

    own: dict[str, Path] = {}
    if engine.startswith("openvino") and importlib.util.find_spec("nncf") is not None:
        own = quantized("nncf_openvino")
    elif engine == "onnxruntime" and reads_tokens(source.path):
        own = quantized("onnxruntime_dynamic")
    return own if "nncf_openvino" in own else {**own, **quantized("onnxruntime")}


def _peer_models(
    engine: EngineName, files: Mapping[str, Path], inputs: Mapping[str, Array], folder: Path
) -> list[PeerModel]:
    """The models that a peer can run, bound to the shapes of inputs; says which it cannot."""
    models = []
    for quantizer, file in files.items():
        name = f"{PEERS[engine]} on {LABELS[quantizer]}"
        bound = _bound(file, inputs, folder / f"{quantizer}_bound{file.suffix}")
        prepared = Prepared(Variant(name, engine), bound, 0, "int8", None)
        try:
            Worker(name, engine, bound, threads=1, cpus=choose_cpus(1)).close()
        except UsageError:
            raise
        except IngotError as error:
            print(f"Not timed: {error}", flush=True)
        else:
            models.append(PeerModel(engine, quantizer, prepared))
    return models


def _bound(file: Path, inputs: Mapping[str, Array], output: Path) -> Path:
    """A quantized model bound to the shapes of inputs."""
    if output.exists():
        return output
    if file.suffix != ".xml":
        return bound_model(ingest(file, simplified=False), file, inputs, output)
    import openvino

    model = openvino.Core().read_model(file)
    model.reshape({name: array.shape for name, array in inputs.items()})
    openvino.save_model(model, output, compress_to_fp16=False)
    return output


def _row(
    name: str,
    own: Sequence[Prepared],
    peers: Sequence[PeerModel],
    inputs: Mapping[str, Array],
    settings: MeasureSettings,
    tell: Progress,
) -> Int8Row:
    int8, fp32 = own
    variants = [int8, fp32, *(peer.prepared for peer in peers)]
    row, (fast, slow, *measured) = time_prepared(name, variants, inputs, settings, tell)
    ratio = statistics.ratio_of_medians(slow.rounds, fast.rounds)
    by_quantizer: dict[str, dict[str, float]] = {}
    for peer, found in zip(peers, measured, strict=True):
        by_quantizer.setdefault(peer.engine, {})[peer.quantizer] = _median(found)
    return Int8Row(
        **dict(row),
        peers_by_quantizer=by_quantizer,
        fp32_ms=_median(slow),
        fp32_ratio=ratio.value,
        fp32_ratio_low=ratio.low,
        fp32_ratio_high=ratio.high,
        fp32_compile_s=None if fp32.build is None else fp32.build.seconds,
        fp32_artifact_mb=fp32.size_bytes / 1e6,
        size_ratio=int8.size_bytes / fp32.size_bytes,
        fp32_peak_rss_mb=slow.peak_bytes / 1e6,
    )


def _median(measured: Measurement) -> float:
    return float(np.median(measured.milliseconds))


def _table(rows: Sequence[Int8Row], peers: Sequence[str]) -> str:
    timed = [f"{PEERS[peer]} ms, by quantizer" for peer in peers]
    headings = [
        *latency_headings(timed, "int8 peak"), "Ingot fp32 ms", "fp32 ÷ int8", "95 % interval",
        "compile s", "artifact MB", "of fp32's", "peak RSS MB", "fp32's RSS MB",
        *(f"{PEERS[peer]} RSS MB" for peer in peers),
    ]  # fmt: skip
    return markdown_table(headings, [_cells(row, peers) for row in rows])


def _cells(row: Int8Row, peers: Sequence[str]) -> list[str]:
    timed = [_by_quantizer(row.peers_by_quantizer.get(peer, {})) for peer in peers]
    return [
        *latency_cells(row, timed),
        formats.milliseconds(row.fp32_ms),
        ratio_cell(row.fp32_ratio),
        interval_cell(row.fp32_ratio_low, row.fp32_ratio_high),
        seconds_cell(row.compile_s),
        f"{row.artifact_mb:.1f}",
        ratio_cell(row.size_ratio),
        memory_cell(row.peak_rss_mb),
        memory_cell(row.fp32_peak_rss_mb),
        *(memory_cell(row.peers_peak_rss_mb.get(peer)) for peer in peers),
    ]


def _by_quantizer(found: Mapping[str, float]) -> str:
    """A peer's times, the fastest first, each with whose model it is of."""
    times = sorted(found.items(), key=lambda entry: entry[1])
    cells = [f"{formats.milliseconds(ms)} {LABELS[quantizer]}" for quantizer, ms in times]
    return ", ".join(cells) or formats.MISSING


if __name__ == "__main__":
    sys.exit(main())
