"""Vela's estimates of fixed nets, recorded: ``python -m tests.targets.npu.estimates`` renews them.

The nets' integers are the same everywhere: weights are fixed, and activations are calibrated with
seeded noise, on which estimates do not depend. What does change them is a lowering rule, or another
version of Vela.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ingot.compiler.data import open_calibration
from ingot.compiler.ingest import ingest
from ingot.compiler.quantization import make_passes
from ingot.compiler.recipe import load_recipe
from ingot.models.catalog import resolve
from ingot.passes.manager import PassManager
from ingot.targets.npu.configuration import compiler_versions, configure
from ingot.targets.npu.lowering import partition_graph
from ingot.targets.registry import parse_target
from tests.targets.npu.quantized import Graph, ir_model

RECORDS = Path(__file__).with_suffix(".json")
RENEW = "python -m tests.targets.npu.estimates"
ACCELERATORS = ("ethos-u55-32", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256",
                "ethos-u65-512", "ethos-u85-256", "ethos-u85-1024")  # fmt: skip
_RECIPE = {"passes": ["cleanup", "fusion", "quantization.qdq"], "precision": "int8"}


@dataclasses.dataclass(frozen=True)
class Net:
    """A fixed net.

    Attributes:
        build: Its QDQ graph.
        downloads: Whether that needs the network.
    """

    build: Callable[[], ir.Model]
    downloads: bool = False


def separable() -> ir.Model:
    """Strided, depthwise and pointwise convolutions, a sum, a mean, and a classifier."""
    graph = Graph(seed=20)

    def layer(x: str, shape: tuple[int, ...], **attributes: Any) -> str:
        y = graph.op("Conv", x, graph.weights(*shape), graph.bias(shape[0]), **attributes)
        return graph.between(graph.op("Relu", y), 0.2, -128)

    x = layer(graph.input((1, 3, 64, 64)), (24, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    y = layer(x, (24, 1, 3, 3), group=24, pads=[1, 1, 1, 1])
    y = layer(y, (24, 24, 1, 1))
    x = graph.between(graph.op("Add", x, y), 0.3, -128)
    x = layer(x, (24, 1, 3, 3), group=24, strides=[2, 2], pads=[1, 1, 1, 1])
    x = layer(x, (64, 24, 1, 1))
    x = graph.between(graph.op("GlobalAveragePool", x), 0.2, -128)
    x = graph.between(graph.op("Flatten", x), 0.2, -128)
    graph.output(graph.op("Gemm", x, graph.weights(10, 64), graph.bias(10), transB=1), 0.4)
    return ir_model(graph.model())


def dense() -> ir.Model:
    """Products with weights alone, in and out of a narrow middle."""
    graph = Graph(seed=21)
    x = graph.input((1, 640))
    sizes = (640, 128, 128, 8, 128, 640)
    for before, after in itertools.pairwise(sizes):
        y = graph.op("Gemm", x, graph.weights(after, before), graph.bias(after), transB=1)
        x = graph.between(graph.op("Relu", y), 0.3, -128)
    graph.output(graph.op("Identity", x), 0.3, -128)
    return ir_model(graph.model())


def mixed() -> ir.Model:
    """Tables, products, pools, and operators that move integers."""
    graph = Graph(seed=22)
    x = graph.input((1, 16, 24, 24))
    gate = graph.between(graph.op("Sigmoid", x), 1 / 256, -128)
    x = graph.between(graph.op("Mul", x, gate), 0.03)
    pooled = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    mean = graph.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    parts = [graph.between(part, 0.03) for part in (pooled, mean)]
    x = graph.between(graph.op("Concat", *parts, axis=1), 0.03)
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    x = graph.between(graph.op("Resize", x, "", scales, mode="nearest"), 0.03)
    x = graph.between(graph.op("HardSwish", x), 0.03)
    graph.output(graph.op("Transpose", x, perm=[0, 1, 3, 2]), 0.03)
    return ir_model(graph.model())


def reference_model(name: str) -> Callable[[], ir.Model]:
    """A reference model, quantized."""

    def build() -> ir.Model:
        source = resolve(name)
        plan = load_recipe({**_RECIPE, "target": "npu:ethos-u55-256"})
        model = ingest(source.path, shapes={}, batch=1, simplified=True, seed=0)
        samples = list(_noise(model.original))
        calibration = open_calibration(samples, model.original, source.path.parent)
        passes = make_passes(plan, parse_target(plan.target), calibration)
        return PassManager(passes).run(model.model).model

    return build


def _noise(model: ir.Model) -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    for _ in range(2):
        yield {
            str(value.name): random.normal(
                size=[d if isinstance(d, int) else 1 for d in value.shape or ()]
            ).astype(np.float32)
            for value in model.graph.inputs
        }


NETS: Mapping[str, Net] = {
    "separable": Net(separable),
    "dense": Net(dense),
    "mixed": Net(mixed),
    "cifar_resnet": Net(reference_model("cifar_resnet")),
    "mobilenetv2": Net(reference_model("mobilenetv2"), downloads=True),
    "efficientnet_lite0": Net(reference_model("efficientnet_lite0"), downloads=True),
    "resnet50": Net(reference_model("resnet50"), downloads=True),
}


def estimated(net: Net) -> dict[str, dict[str, int]]:
    """Cycles, multiply-adds and peak of fast memory by accelerator; nothing may be left over."""
    model = net.build()
    found = {}
    for accelerator in ACCELERATORS:
        parts = partition_graph(
            model.clone(), configure(accelerator, None, None), sram=None, fallback=False
        )
        estimate = parts.npu["estimate"]
        found[accelerator] = {
            "cycles": estimate["cycles"],
            "macs": estimate["macs"],
            "sram_peak": estimate["memories"]["Sram"]["peak"],
        }
    return found


def recorded() -> dict[str, Any]:
    """What the file holds."""
    made: dict[str, Any] = json.loads(RECORDS.read_text(encoding="utf-8"))
    return made


def record() -> None:
    """Writes the file anew, and prints what changed."""
    before = recorded()["nets"] if RECORDS.exists() else {}
    nets = {name: estimated(net) for name, net in NETS.items()}
    made = {"versions": compiler_versions(), "nets": nets}
    RECORDS.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    for name, rows in nets.items():
        for accelerator, row in rows.items():
            old = before.get(name, {}).get(accelerator, {}).get("cycles")
            if old != row["cycles"]:
                sys.stdout.write(f"{name} on {accelerator}: {old} -> {row['cycles']} cycles\n")


if __name__ == "__main__":
    record()
