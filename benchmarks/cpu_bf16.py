"""Latency of the reference models on this CPU in bfloat16, against OpenVINO's and float32.

Compiles each model with --precision bf16 for the shape it is timed on, and times it in turn with
its peers, as cpu_fp32.py does: OpenVINO with its floats in bfloat16 (its default where the CPU has
it) and in float32, and ONNX Runtime, which has no bfloat16 on CPUs. The faster of them counts.

Run it on an otherwise idle machine with AVX512-BF16 or AMX, for the whole table:

    python benchmarks/cpu_bf16.py --json cpu_bf16.json

or for a part: --models resnet50,minilm --threads 1 --batch 1,8. It needs the package openvino
beside ingot[compile]; --against onnxruntime does without. What it does to accuracy, `ingot report
MODEL --recipe bf16 --data DIR` tells.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cpu_fp32 import tabulate
from benchmarks.latency import (
    PEERS,
    input_shapes,
    latency_options,
    measure_settings,
    run_benchmark,
)
from ingot.cli.source import find_model
from ingot.progress import Progress
from ingot.report.bench import BenchRow, bench
from ingot.report.variants import Variant


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    parser = latency_options(__doc__, tuple(PEERS))
    parser.add_argument("--target", help="what Ingot compiles for, such as cpu:mcpu=cooperlake")
    return run_benchmark(parser.parse_args(arguments), measure, tabulate)


def measure(model: str, batch: int, options: argparse.Namespace, tell: Progress) -> list[BenchRow]:
    """Returns the rows of one model and batch, one for each number of threads; compiled once."""
    source = find_model(model)
    return bench(
        source.path,
        name=source.name,
        variant=Variant.ingot("bf16", target=options.target),
        against=options.against,
        settings=measure_settings(options),
        shapes=input_shapes(source.path, batch),
        progress=tell,
    )


if __name__ == "__main__":
    sys.exit(main())
