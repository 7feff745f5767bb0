"""MLPerf Tiny's four networks on Ethos-U NPUs: Ingot's route against Arm's own.

Ingot's route is a network's float checkpoint as ONNX, quantized with calibration, through TOSA and
Vela. Arm's is the INT8 TensorFlow Lite model that MLPerf Tiny publishes, through the same Vela with
the same system configuration and memory mode. Cycles and memory are Vela's estimates, of Arm's
route with and without the softmax at the end, which Ingot's networks leave to whoever wants it.

    python benchmarks/npu_mlperf_tiny.py --data DIR --json npu_mlperf_tiny.json

or for a part: --models resnet8 --accelerators ethos-u55-128 --limit 100; --layers shows both routes
layer by layer. DIR holds mlperf_tiny/ (the published files), imagenet_calib/ and imagenet_val/
(images). It needs the package ai-edge-litert and ingot[compile,npu,checkpoints].

Accuracy is of Ingot's artifact by the TOSA reference model, and of the TensorFlow Lite model by
TensorFlow Lite, on identical inputs: CIFAR-10's test images with labels for resnet8 (calibrated on
training images), photographs for vww_mobilenet. No recordings are at hand for ds_cnn and
autoencoder: their inputs are random walks over the range of the published model's input, drawn
anew for calibration. That favours the route that was calibrated on them, so their signal-to-noise
ratios say that nothing is broken, not which route is better.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calibration_data import data_folder
from benchmarks.tables import markdown_table, names
from benchmarks.tflite_route import TfliteModel
from ingot.compiler.accuracy.sensitivity import decibels
from ingot.compiler.build import Artifact, compile_model
from ingot.data import open_dataset
from ingot.errors import IngotError, UsageError
from ingot.models.catalog import resolve
from ingot.models.checkpoint_models import CHECKPOINT_MODELS, export_checkpoint
from ingot.models.cifar10 import BUNDLED_CALIBRATION, BUNDLED_TEST
from ingot.reference.session import Reference
from ingot.report.machine import machine_facts
from ingot.report.npu import read_estimate
from ingot.runtime.npu.region import Estimate
from ingot.runtime.session import Session
from ingot.statistics import paired_difference
from ingot.targets.npu.configuration import configure

Array = npt.NDArray[Any]

ACCELERATORS = ("ethos-u55-128", "ethos-u85-256")
# Dense layers have one scale for all outputs, as in TensorFlow Lite: their weights, which come from
# slow memory, are compressed better.
RECIPE = {
    "name": "npu",
    "precision": "int8",
    "passes": [
        "cleanup",
        "fusion",
        "cleanup",
        "quantization.equalization",
        "quantization.smoothing",
        {"name": "quantization.qdq", "options": {"dense_scales": "layer"}},
        "quantization.weight-rounding",
    ],
}
PUBLISHED_INT8 = {
    "resnet8": "pretrainedResnet_quant.tflite",
    "vww_mobilenet": "vww_96_int8.tflite",
    "ds_cnn": "kws_ref_model.tflite",
    "autoencoder": "ad01_int8.tflite",
}
_CALIBRATION_SAMPLES = 256
_RANDOM_SAMPLES = 256


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a network is calibrated with and judged on.

    Attributes:
        calibration: A data set's path, or inputs by name.
        inputs: What it is judged on, in ONNX's layout, one example each.
        labels: Their classes, where they are known.
        description: What the inputs are.
    """

    calibration: Path | list[dict[str, Array]]
    inputs: list[Array]
    labels: Array | None
    description: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Estimates, prints the tables and writes the JSON; returns the exit code."""
    options = _options(arguments)
    costs: list[dict[str, Any]] = []
    accuracies: list[dict[str, Any]] = []
    try:
        for name in options.models:
            if name not in CHECKPOINT_MODELS:
                raise UsageError(f"no model {name!r}; possible: {', '.join(CHECKPOINT_MODELS)}")
            with tempfile.TemporaryDirectory() as folder:
                _measure(name, options, Path(folder), costs, accuracies)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(_cost_table(costs), "\n")
    if accuracies:
        print(_accuracy_table(accuracies))
    if options.json is not None:
        content = {"machine": machine_facts().model_dump(), "rows": costs, "accuracy": accuracies}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names, default=tuple(CHECKPOINT_MODELS))
    parser.add_argument("--accelerators", type=names, default=ACCELERATORS)
    parser.add_argument("--data", type=Path, default=data_folder(), help="the data sets' folder")
    parser.add_argument("--limit", type=int, help="examples to judge on, at most; 0 for none")
    parser.add_argument("--layers", action="store_true", help="show both routes layer by layer")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser.parse_args(arguments)


def _measure(
    name: str,
    options: argparse.Namespace,
    folder: Path,
    costs: list[dict[str, Any]],
    accuracies: list[dict[str, Any]],
) -> None:
    """Adds the rows of one network."""
    published = options.data / "mlperf_tiny"
    model = folder / f"{name}.onnx"
    export_checkpoint(name, published / CHECKPOINT_MODELS[name].checkpoint, model)
    arm = TfliteModel(published / PUBLISHED_INT8[name])
    samples = _samples(name, model, arm, options)
    artifact = None
    for accelerator in options.accelerators:
        artifact = compile_model(
            model, folder / f"{accelerator}.ingot", recipe=RECIPE,
            target=f"npu:{accelerator},fallback=false", calibration=samples.calibration,
        )  # fmt: skip
        configuration = configure(accelerator, None, None)
        peer = arm.without_softmax().estimate(configuration)
        costs.append(
            {
                "model": name,
                "accelerator": accelerator,
                "system_configuration": configuration.system_configuration,
                "memory_mode": configuration.memory_mode,
                "ingot": _ingot_cost(artifact),
                "arm": _cost(peer),
                "arm_with_softmax": _cost(arm.estimate(configuration)),
            }
        )
        if options.layers:
            print(f"{name} on {accelerator}\n\n{_layer_table(artifact, arm, peer)}\n")
    if artifact is not None and samples.inputs:
        accuracies.append(_accuracy(name, model, artifact, arm, samples))


def _samples(name: str, model: Path, arm: TfliteModel, options: argparse.Namespace) -> Samples:
    limit = options.limit
    if name in ("resnet8", "vww_mobilenet"):
        photographs = name == "vww_mobilenet"
        calibration = options.data / "imagenet_calib" if photographs else BUNDLED_CALIBRATION
        judged = options.data / "imagenet_val" if photographs else BUNDLED_TEST
        data = open_dataset(judged, resolve(model).preprocessing, ["input"])
        count = len(data) if limit is None else min(limit, len(data))
        examples = [data[index] for index in range(count)]
        what = "photographs" if photographs else "CIFAR-10 test"
        labels = None if photographs else np.array([example.label for example in examples])
        inputs = [example.inputs[0]["input"] for example in examples]
        return Samples(calibration, inputs, labels, what)
    dimensions = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    shape = (1, *(dimension.dim_value for dimension in dimensions[1:]))
    low, high = arm.input_range()
    generator = np.random.default_rng(0)
    walks = [
        _random_walk(generator, shape, low, high)
        for _ in range(_CALIBRATION_SAMPLES + _RANDOM_SAMPLES)
    ]
    count = _RANDOM_SAMPLES if limit is None else min(limit, _RANDOM_SAMPLES)
    return Samples(
        [{"input": walk} for walk in walks[:_CALIBRATION_SAMPLES]],
        walks[_CALIBRATION_SAMPLES:][:count],
        None,
        "random walks",
    )


def _random_walk(
    generator: np.random.Generator, shape: tuple[int, ...], low: float, high: float
) -> Array:
    """Values that change little from one to the next, within bounds."""
    steps = generator.normal(size=int(np.prod(shape))).cumsum()
    place = (steps - steps.min()) / np.ptp(steps)
    reach = np.sort(generator.uniform(low, high, 2))
    return (reach[0] + place * (reach[1] - reach[0])).reshape(shape).astype(np.float32)


def _ingot_cost(artifact: Artifact) -> dict[str, Any]:
    estimate = artifact.manifest.placement["npu"]["estimate"]
    return {
        "cycles": estimate["cycles"],
        "peaks": {name: memory["peak"] for name, memory in estimate["memories"].items()},
    }


def _cost(estimate: Estimate) -> dict[str, Any]:
    peaks = {name: memory.peak for name, memory in estimate.memories.items()}
    return {"cycles": estimate.cycles, "peaks": peaks}


def _accuracy(
    name: str, model: Path, artifact: Artifact, arm: TfliteModel, samples: Samples
) -> dict[str, Any]:
    reference = Reference(model)
    (output,) = reference.outputs
    expected = np.concatenate([reference.run({"input": x})[output] for x in samples.inputs])
    with Session(artifact.path) as session:
        ingot = np.concatenate([session.run(x)[output] for x in samples.inputs])
    found = {"ingot": ingot, "arm": arm.without_softmax().run(samples.inputs)}
    row: dict[str, Any] = {"model": name, "inputs": samples.description, "n": len(expected)}
    row["sqnr_db"] = {route: _sqnr(expected, values) for route, values in found.items()}
    if samples.labels is not None:
        row["metric"], truth = "top-1", samples.labels
        row["float"] = _share(expected, truth)
    elif name != "autoencoder":
        row["metric"], truth = "agreement", expected.argmax(axis=1)
    else:
        return row
    row |= {route: _share(values, truth) for route, values in found.items()}
    # Of inputs that only one route was calibrated on, a difference would say nothing.
    return row if name == "ds_cnn" else {**row, **_difference(ingot, found["arm"], truth)}


def _difference(ingot: Array, arm: Array, truth: Array) -> dict[str, float]:
    """How many points Ingot is above Arm on the same inputs, with a 95 % interval."""
    found = paired_difference(_hits(ingot, truth), _hits(arm, truth))
    return {"delta": found.value, "delta_low": found.low, "delta_high": found.high}


def _share(values: Array, truth: Array) -> float:
    return float(_hits(values, truth).mean())


def _hits(values: Array, truth: Array) -> Array:
    """100 for each input whose class is right, 0 for the others."""
    return 100.0 * (values.argmax(axis=1) == truth)


def _sqnr(expected: Array, found: Array) -> float:
    wide = expected.astype(np.float64)
    return decibels(float((wide**2).sum()), float(((found - wide) ** 2).sum()))


def _layer_table(artifact: Artifact, arm: TfliteModel, peer: Estimate) -> str:
    """Cycles of each layer by both routes."""
    ingot: Counter[str] = Counter()
    for layer in read_estimate(artifact.path).layers:
        ingot[layer.name] += layer.cycles
    of_tensor = arm.layer_names()
    published: Counter[str] = Counter()
    for row in peer.layers:
        published[of_tensor.get(row.name, row.name)] += row.cycles
    rows = [
        [
            layer,
            f"{ingot[layer]:,}",
            f"{published[layer]:,}",
            f"{ingot[layer] - published[layer]:+,}",
        ]
        for layer in dict.fromkeys([*of_tensor.values(), *ingot, *published])
        if ingot[layer] or published[layer]
    ]
    return markdown_table(["layer", "Ingot", "Arm", "difference"], rows)


def _cost_table(rows: Sequence[dict[str, Any]]) -> str:
    headings = [
        "network", "NPU", "cycles, Ingot", "Arm", "Ingot ÷ Arm", "Arm with softmax",
        "SRAM, Ingot", "Arm", "flash, Ingot", "Arm",
    ]  # fmt: skip
    lines = []
    for row in rows:
        ingot, arm = row["ingot"], row["arm"]
        flash = [_peak(cost, "OffChipFlash") for cost in (ingot, arm)]
        sram = [_peak(cost, "Sram") for cost in (ingot, arm)]
        ratio = f"{ingot['cycles'] / arm['cycles']:.3f}"
        cycles = (f"{ingot['cycles']:,}", f"{arm['cycles']:,}", ratio)
        softmax = f"{row['arm_with_softmax']['cycles']:,}"
        lines.append([row["model"], row["accelerator"], *cycles, softmax, *sram, *flash])
    return markdown_table(headings, lines, text_columns=2)


def _peak(cost: dict[str, Any], memory: str) -> str:
    return f"{cost['peaks'][memory]:,}" if memory in cost["peaks"] else "-"


def _accuracy_table(rows: Sequence[dict[str, Any]]) -> str:
    headings = [
        "network", "inputs", "measure", "n", "float", "Arm", "Ingot", "Ingot - Arm", "SQNR dB, Arm",
        "Ingot",
    ]  # fmt: skip
    lines = []
    for row in rows:
        keys = ("delta", "delta_low", "delta_high")
        delta = (
            "{:+.2f} ({:+.2f} to {:+.2f})".format(*(row[k] for k in keys))
            if "delta" in row
            else "-"
        )
        shares = [f"{row[key]:.2f}" if key in row else "-" for key in ("float", "arm", "ingot")]
        ratios = [f"{row['sqnr_db'][key]:.1f}" for key in ("arm", "ingot")]
        lines.append(
            [
                row["model"],
                row["inputs"],
                row.get("metric", "-"),
                str(row["n"]),
                *shares,
                delta,
                *ratios,
            ]
        )
    return markdown_table(headings, lines, text_columns=3)


if __name__ == "__main__":
    sys.exit(main())
