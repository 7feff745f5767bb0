"""Accuracy of INT8 models by Ingot, ONNX Runtime and NNCF, against the float model.

Each quantizer gets the same float model and the same calibration samples without labels, and every
INT8 model answers the same labelled examples, so that differences are paired. Image classifiers are
calibrated on one folder of images and measured on another, sentence models on sentences and on
pairs with a score of similarity, and the bundled model on CIFAR-10's training and test images.

    python benchmarks/int8_accuracy.py --data DIR --json int8_accuracy.json

The rows of "ingot" are the compiled artifact's, those of "ingot_qdq" of the same quantized graph in
ONNX Runtime. DIR holds imagenet_calib/ (images), imagenet_val/<class index>/ (images),
sst2/train_6000.tsv and stsb/dev.csv. For a part of the table:

    --models mobilenetv2 --quantizers ingot,onnxruntime --limit 100

The quantizers nncf_* need the package nncf (and openvino) beside ingot[compile].
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
import pydantic

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calibration_data import SAMPLES, calibration_data, data_folder, judged_data
from benchmarks.peer_quantizers import PEER_QUANTIZERS, PeerError, quantized_by, require
from benchmarks.tables import markdown_table, names
from ingot.cli.measuring import progress
from ingot.compiler.build import ARTIFACT_SUFFIX, compile_model
from ingot.data import Dataset
from ingot.data.metrics import Metric
from ingot.data.preprocessing import TextPreprocessing
from ingot.errors import IngotError, UsageError
from ingot.models.catalog import ModelSource, resolve
from ingot.progress import Progress
from ingot.reference.session import Reference
from ingot.report.evaluate import metric_figures
from ingot.report.machine import machine_facts
from ingot.report.rendering import formats
from ingot.runtime.session import Session

Array: TypeAlias = npt.NDArray[Any]
Answer: TypeAlias = Callable[[dict[str, Array]], dict[str, Array]]

MODELS = (
    "resnet50",
    "mobilenetv2",
    "efficientnet_b0",
    "efficientnet_lite0",
    "cifar_resnet",
    "minilm",
    "gte_small",
    "mpnet_base",
)
INGOT, INGOT_QDQ = "ingot", "ingot_qdq"
QUANTIZERS = (INGOT, INGOT_QDQ, *PEER_QUANTIZERS)


class AccuracyRow(pydantic.BaseModel):
    """One model by one quantizer.

    Attributes:
        model: The model's name.
        quantizer: Who quantized it.
        metric: What it is judged by.
        fp32: The float model's value.
        value: The INT8 model's value.
        delta: ``value - fp32``, in points.
        delta_low: Lower end of its 95 % interval, paired.
        delta_high: Upper end.
        n: Examples.
        changed: Examples whose prediction is another than the float model's.
        size_ratio: Bytes of the INT8 model's file by those of the float model's.
        seconds: What quantizing took; None for a model that was kept.
    """

    model: str
    quantizer: str
    metric: str
    fp32: float
    value: float
    delta: float
    delta_low: float
    delta_high: float
    n: int
    changed: int
    size_ratio: float = 0.0
    seconds: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    options = _options(arguments)
    rows: list[AccuracyRow] = []
    try:
        for quantizer in options.quantizers:
            if quantizer not in QUANTIZERS:
                raise UsageError(f"no quantizer {quantizer!r}; possible: {', '.join(QUANTIZERS)}")
            require(quantizer)
        with progress() as tell:
            for model in options.models:
                _measure(model, options, rows, tell)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(_table(rows))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names, default=MODELS, help="names or paths: a,b")
    parser.add_argument("--quantizers", type=names, default=QUANTIZERS, help="of the columns")
    parser.add_argument(
        "--data", type=Path, default=data_folder(), help="the folder of the data sets"
    )
    parser.add_argument("--limit", type=int, help="examples to measure on, at most")
    parser.add_argument("--calibration-limit", type=int, default=SAMPLES, help="samples at most")
    parser.add_argument("--threads", type=int, default=0, help="of the inferences; 0 for all")
    parser.add_argument(
        "--keep", type=Path, help="a folder for the INT8 models; those in it are used"
    )
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser.parse_args(arguments)


def _measure(
    name: str, options: argparse.Namespace, rows: list[AccuracyRow], tell: Progress
) -> None:
    """Adds the rows of one model as they are found."""
    source = resolve(name)
    transformer = isinstance(source.preprocessing, TextPreprocessing)
    calibration, judged = _data(source, options)
    metric = judged.metrics[0]
    answer = _runner(source.path, options.threads)
    reference = _predict(answer, judged, metric, tell, f"{source.name}: fp32")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep / source.name if options.keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for quantizer in options.quantizers:
            if quantizer == "onnxruntime_dynamic" and not transformer:
                continue
            tell(f"{source.name}: quantized by {quantizer}", 0, 0)
            begin = time.time()
            try:
                quantized = _quantize(quantizer, source, calibration, folder)
            except PeerError as error:
                print(error, file=sys.stderr, flush=True)
                continue
            # A file of an earlier run tells nothing of how long it took.
            made = quantized.stat().st_mtime >= begin
            seconds = time.time() - begin if made else None
            answer = _runner(quantized, options.threads)
            found = _predict(answer, judged, metric, tell, f"{source.name}: {quantizer}")
            row = _row(source, quantizer, metric, judged, found, reference)
            size = _size(quantized) / source.path.stat().st_size
            rows.append(row.model_copy(update={"size_ratio": size, "seconds": seconds}))
            print(_line(rows[-1]), flush=True)
            if options.json is not None:
                _write(options.json, rows)


def _row(
    source: ModelSource,
    quantizer: str,
    metric: Metric,
    judged: Dataset,
    predictions: Array,
    reference: Array,
) -> AccuracyRow:
    figures = metric_figures(metric, predictions, reference, judged.labels)
    assert figures.difference is not None and figures.identical is not None
    return AccuracyRow(
        model=source.name,
        quantizer=quantizer,
        metric=metric.name,
        fp32=metric.aggregate(reference, judged.labels),
        value=figures.value.value,
        delta=figures.difference.value,
        delta_low=figures.difference.low,
        delta_high=figures.difference.high,
        n=figures.n,
        changed=figures.n - figures.identical,
    )


def _quantize(quantizer: str, source: ModelSource, calibration: Dataset, folder: Path) -> Path:
    """Quantizes by default settings; returns the model's file."""
    if quantizer not in (INGOT, INGOT_QDQ):
        return quantized_by(quantizer, source, calibration, folder)
    artifact, passes = folder / "ingot.ingot", folder / "passes"
    if not artifact.exists():
        compile_model(
            source.path, artifact, recipe="int8", calibration=calibration, dump_passes=passes
        )
    return artifact if quantizer == INGOT else sorted(passes.glob("*.onnx"))[-1]


def _data(source: ModelSource, options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """What a model is calibrated with, and what it is judged on."""
    inputs = list(Reference(source.path).inputs)
    calibration = calibration_data(source, inputs, options.data, options.calibration_limit)
    return calibration, judged_data(source, inputs, options.data, options.limit)


def _runner(model: Path, threads: int) -> Answer:
    """What answers with a model, by its file's suffix."""
    if model.suffix == ".xml":
        return _openvino(model, threads)
    if model.suffix == ARTIFACT_SUFFIX:
        return Session(model, threads=threads or None).run
    return _onnxruntime(model, threads)


def _onnxruntime(model: Path, threads: int) -> Answer:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Without VNNI its kernels saturate at int16 unless told to be exact, and this is about
    # quantizers, not kernels.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def _openvino(model: Path, threads: int) -> Answer:
    import openvino

    # Without VNNI its int8 kernels saturate too: they are left out, and the quantized graph is
    # computed as it stands, in float.
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(model, "CPU", config)
    names = [value.any_name for value in compiled.outputs]

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        results = compiled(inputs)
        return {name: np.array(results[index]) for index, name in enumerate(names)}

    return run


def _predict(answer: Answer, dataset: Dataset, metric: Metric, tell: Progress, name: str) -> Array:
    """The predictions of a model, [examples, ...]."""
    predictions = []
    for index, example in enumerate(dataset):
        outputs = [answer(inputs) for inputs in example.inputs]
        predictions.append(metric.predict(outputs, example.label))
        tell(f"{name}: predicting", index + 1, len(dataset))
    return np.stack(predictions)


def _size(model: Path) -> int:
    files = [model, model.with_suffix(".bin"), Path(f"{model}.data")]
    return sum(file.stat().st_size for file in files if file.is_file())


def _write(path: Path, rows: Sequence[AccuracyRow]) -> None:
    document = {
        "machine": machine_facts().model_dump(mode="json"),
        "rows": [row.model_dump(mode="json") for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _line(row: AccuracyRow) -> str:
    return (
        f"{row.model}, {row.quantizer}: {row.metric} {row.fp32:.2f} -> {row.value:.2f} "
        f"({row.delta:+.2f}, {row.delta_low:+.2f} to {row.delta_high:+.2f}), "
        f"{row.changed} of {row.n:,} predictions differ"
    )


def _table(rows: Sequence[AccuracyRow]) -> str:
    headings = [
        "model", "quantizer", "metric", "fp32", "INT8", "difference", "95 % interval",
        "predictions changed", "n", "size", "quantized in",
    ]  # fmt: skip
    return markdown_table(headings, [_cells(row) for row in rows], text_columns=3)


def _cells(row: AccuracyRow) -> list[str]:
    return [
        row.model,
        row.quantizer,
        row.metric,
        f"{row.fp32:.2f}",
        f"{row.value:.2f}",
        formats.difference(row.delta),
        f"{formats.difference(row.delta_low)} to {formats.difference(row.delta_high)}",
        formats.percent(100.0 * row.changed / row.n),
        f"{row.n:,}",
        formats.times(row.size_ratio),
        formats.seconds(row.seconds),
    ]


if __name__ == "__main__":
    sys.exit(main())
