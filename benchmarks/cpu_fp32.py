"""Latency of the reference models on this CPU in fp32, against ONNX Runtime and OpenVINO.

Compiles each model for the shape it is timed on, times it in turn with its peers, in processes of
their own on the same CPUs and with the same number of threads, and prints one table. Peers run at
their best settings and get the model bound to the same shape.

Run it on an otherwise idle machine, for the whole table:

    python benchmarks/cpu_fp32.py --json cpu_fp32.json

or for a part: --models resnet50,minilm --threads 1 --batch 1,8. It needs the package openvino
beside ingot[compile]; --against onnxruntime does without.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from ingot.cli.measuring import progress
from ingot.cli.source import find_model
from ingot.errors import IngotError
from ingot.report.bench import BenchRow, bench
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.measure import MeasureSettings, Progress, choose_cpus
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
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
# Of a sentence, where the number of tokens is open.
TOKENS = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    options = _options(arguments)
    machine = machine_facts()
    print(_describe(machine), flush=True)
    for warning in machine_warnings(machine, max(options.threads)):
        print(f"Warning: {warning}", flush=True)
    rows: list[BenchRow] = []
    try:
        with progress() as tell:
            for model in options.models:
                for batch in options.batch:
                    rows += _measure(model, batch, options, tell)
                    if options.json is not None:
                        _write(options.json, machine, rows)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(_table(rows, options.against))
            print(_means(rows))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cpus = len(os.sched_getaffinity(0))
    counts = sorted({1, min(2, cpus)})
    parser.add_argument("--models", type=_names, default=MODELS, help="names or paths: a,b")
    parser.add_argument("--threads", type=_numbers, default=counts, help="such as 1,2")
    parser.add_argument("--batch", type=_numbers, default=[1], help="such as 1,8,32")
    parser.add_argument("--against", type=_names, default=tuple(PEERS), help="the peers")
    parser.add_argument("--runs", type=int, default=100, help="timed inferences per variant")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long at most")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser.parse_args(arguments)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _measure(model: str, batch: int, options: argparse.Namespace, tell: Progress) -> list[BenchRow]:
    """The rows of one model and batch, one for each number of threads; compiled once."""
    source = find_model(model)
    settings = [
        MeasureSettings(count, choose_cpus(count), runs=options.runs, seconds=options.seconds)
        for count in options.threads
    ]
    return bench(
        source.path,
        name=source.name,
        against=options.against,
        settings=settings,
        shapes=input_shapes(source.path, batch),
        progress=tell,
    )


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


def _describe(machine: MachineFacts) -> str:
    kind = " (virtual machine)" if machine.virtual else ""
    versions = ", ".join(f"{name} {formats.version(v)}" for name, v in machine.versions.items())
    return (
        f"{machine.cpu}{kind}, {machine.logical_cpus} CPUs, {' '.join(machine.features)}, "
        f"{formats.size(machine.memory_bytes)}; {machine.system}; Python {machine.python}; "
        f"{versions}"
    )


def _table(rows: Sequence[BenchRow], peers: Sequence[str]) -> str:
    """The rows as a Markdown table, its columns aligned."""
    headings = [
        "model", "threads", "batch", "Ingot ms", *(f"{PEERS.get(p, p)} ms" for p in peers),
        "best peer ÷ Ingot", "95 % interval", "of roofline", "compile s", "artifact MB",
        "peak RSS MB", *(f"{PEERS.get(p, p)} RSS MB" for p in peers),
    ]  # fmt: skip
    lines = [headings, *(_cells(row, peers) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def _cells(row: BenchRow, peers: Sequence[str]) -> list[str]:
    interval = formats.MISSING
    if row.ratio_low is not None and row.ratio_high is not None:
        interval = f"{row.ratio_low:.3f} to {row.ratio_high:.3f}"
    return [
        row.model,
        str(row.threads),
        str(row.batch),
        formats.milliseconds(row.ingot_ms),
        *(formats.milliseconds(row.peers.get(peer)) for peer in peers),
        formats.MISSING if row.ratio is None else f"{row.ratio:.3f}",
        interval,
        formats.percent(row.percent_of_roofline),
        formats.MISSING if row.compile_s is None else f"{row.compile_s:.1f}",
        f"{row.artifact_mb:.1f}",
        f"{row.peak_rss_mb:.0f}",
        *(_memory(row.peers_peak_rss_mb.get(peer)) for peer in peers),
    ]


def _memory(megabytes: float | None) -> str:
    return formats.MISSING if megabytes is None else f"{megabytes:.0f}"


if __name__ == "__main__":
    sys.exit(main())
