"""What the benchmarks of latency share: options, the way through the models, means, JSON."""

from __future__ import annotations

import argparse
import collections
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import onnx
import onnx_ir as ir

from benchmarks.tables import names
from ingot.cli.measuring import progress
from ingot.errors import IngotError, UsageError
from ingot.progress import Progress
from ingot.report.bench import BenchRow
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.measure import MeasureSettings, choose_cpus
from ingot.report.rendering import formats
from ingot.report.schema import MachineFacts

MODELS = (
    "resnet50",
    "mobilenetv2",
    "efficientnet_b0",
    "efficientnet_lite0",
    "bert_base",
    "minilm",
    "cifar_resnet",
)
PEERS = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "openvino_bf16": "OpenVINO bf16",
}
OF_FP32 = ("onnxruntime", "openvino")
# Of a sentence, where the number of tokens is open.
TOKENS = 128

Row = TypeVar("Row", bound=BenchRow)
MeasureModel: TypeAlias = Callable[[str, int, argparse.Namespace, Progress], Sequence[Row]]
"""Measures a model, by name or path, at a batch size: a row for each number of threads."""
Tabulate: TypeAlias = Callable[[Sequence[Row], Sequence[str]], str]
"""The table of rows, with the names of the peers that were asked for."""


def latency_options(
    description: str | None, peers: Sequence[str] = OF_FP32
) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark of latency has, and which peers are timed."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cpus = len(os.sched_getaffinity(0))
    counts = sorted({1, min(2, cpus)})
    parser.add_argument("--models", type=names, default=MODELS, help="names or paths: a,b")
    parser.add_argument("--threads", type=_numbers, default=counts, help="such as 1,2")
    parser.add_argument("--batch", type=_numbers, default=[1], help="such as 1,8,32")
    parser.add_argument("--against", type=names, default=peers, help="the peers")
    parser.add_argument("--runs", type=int, default=100, help="timed inferences per variant")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long at most")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def run_benchmark(
    options: argparse.Namespace, measure: MeasureModel[Row], tabulate: Tabulate[Row]
) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    machine = announce_machine(max(options.threads))
    rows: list[Row] = []
    try:
        with progress() as tell:
            for model in options.models:
                for batch in options.batch:
                    rows += measure(model, batch, options, tell)
                    if options.json is not None:
                        _write(options.json, machine, rows)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(tabulate(rows, options.against))
            print(_means(rows))
    return 0


def announce_machine(threads: int) -> MachineFacts:
    """Prints what the machine is, and what speaks against timing on it; returns the facts."""
    machine = machine_facts()
    print(describe_machine(machine), flush=True)
    for warning in machine_warnings(machine, threads):
        print(f"Warning: {warning}", flush=True)
    return machine


def run_built(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    networks: Mapping[str, Callable[[], onnx.ModelProto]],
    measure: MeasureModel[Row],
    tabulate: Tabulate[Row],
) -> int:
    """Measures models that a benchmark builds; see :func:`run_benchmark`.

    Args:
        parser: The options; the models are all of them by default.
        arguments: The command line's.
        networks: What builds each model, by its name.
        measure: Measures a file, which has the model's name.
        tabulate: Makes the table.
    """
    parser.set_defaults(models=tuple(networks))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ingot-") as folder:

        def build_and_measure(
            name: str, batch: int, options: argparse.Namespace, tell: Progress
        ) -> Sequence[Row]:
            if name not in networks:
                raise UsageError(f"no model is called {name}; there are {', '.join(networks)}")
            path = Path(folder) / f"{name}.onnx"
            onnx.save(networks[name](), path)
            return measure(str(path), batch, options, tell)

        return run_benchmark(options, build_and_measure, tabulate)


def measure_settings(options: argparse.Namespace) -> list[MeasureSettings]:
    """How to measure, for each number of threads."""
    return [
        MeasureSettings(count, choose_cpus(count), runs=options.runs, seconds=options.seconds)
        for count in options.threads
    ]


def input_shapes(model: Path, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes for a model's inputs: an open first dimension is the batch, any other the tokens."""
    shapes = {}
    for value in ir.load(model).graph.inputs:
        if value.is_initializer() or value.shape is None:
            continue
        shapes[str(value.name)] = tuple(
            size if isinstance(size, int) else TOKENS if axis else batch
            for axis, size in enumerate(value.shape)
        )
    return shapes


def _write(path: Path, machine: MachineFacts, rows: Sequence[BenchRow]) -> None:
    document = {
        "machine": machine.model_dump(mode="json"),
        "rows": [row.model_dump(mode="json") for row in rows],
        "geometric_means": [
            {"threads": threads, "batch": batch, "models": count, "ratio": mean}
            for (threads, batch), (count, mean) in geometric_means(rows).items()
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def geometric_means(rows: Sequence[BenchRow]) -> dict[tuple[int, int], tuple[int, float]]:
    """The mean ratio by threads and batch, with the number of models that it is of."""
    ratios = collections.defaultdict(list)
    for row in rows:
        if row.ratio is not None:
            ratios[row.threads, row.batch].append(row.ratio)
    return {
        key: (len(found), math.exp(math.fsum(map(math.log, found)) / len(found)))
        for key, found in sorted(ratios.items())
    }


def _means(rows: Sequence[BenchRow]) -> str:
    return "\n".join(
        f"Geometric mean of best peer ÷ Ingot, {threads} thread{'s' * (threads > 1)}, batch "
        f"{batch}, {count} model{'s' * (count > 1)}: {mean:.3f}"
        for (threads, batch), (count, mean) in geometric_means(rows).items()
    )


def describe_machine(machine: MachineFacts) -> str:
    """The machine and what is installed on it, in one line."""
    kind = " (virtual machine)" if machine.virtual else ""
    versions = ", ".join(f"{name} {formats.version(v)}" for name, v in machine.versions.items())
    return (
        f"{machine.cpu}{kind}, {machine.logical_cpus} CPUs, {' '.join(machine.features)}, "
        f"{formats.size(machine.memory_bytes)}; {machine.system}; Python {machine.python}; "
        f"{versions}"
    )


def latency_headings(peers: Sequence[str], peak: str) -> list[str]:
    """The first columns of a table of latencies; see :func:`latency_cells`."""
    fixed = ["model", "threads", "batch", "Ingot ms"]
    return [*fixed, *peers, "best peer ÷ Ingot", "95 % interval", f"of {peak}"]


def latency_cells(row: BenchRow, peers: Sequence[str]) -> list[str]:
    """A row's first cells: what was run, Ingot's time, the peers', and how they compare."""
    return [
        row.model,
        str(row.threads),
        str(row.batch),
        formats.milliseconds(row.ingot_ms),
        *peers,
        ratio_cell(row.ratio),
        interval_cell(row.ratio_low, row.ratio_high),
        formats.percent(row.percent_of_roofline),
    ]


def ratio_cell(ratio: float | None) -> str:
    """A ratio of two latencies."""
    return formats.MISSING if ratio is None else f"{ratio:.3f}"


def interval_cell(low: float | None, high: float | None) -> str:
    """The interval of a ratio."""
    return formats.MISSING if low is None or high is None else f"{low:.3f} to {high:.3f}"


def seconds_cell(seconds: float | None) -> str:
    """A duration in seconds."""
    return formats.MISSING if seconds is None else f"{seconds:.1f}"


def memory_cell(megabytes: float | None) -> str:
    """An amount of memory in MB."""
    return formats.MISSING if megabytes is None else f"{megabytes:.0f}"
