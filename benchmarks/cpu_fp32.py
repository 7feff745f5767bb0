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
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.latency import (
    PEERS,
    input_shapes,
    latency_cells,
    latency_headings,
    latency_options,
    measure_settings,
    memory_cell,
    run_benchmark,
    seconds_cell,
)
from benchmarks.tables import markdown_table
from ingot.cli.source import find_model
from ingot.progress import Progress
from ingot.report.bench import BenchRow, bench
from ingot.report.rendering import formats


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    options = latency_options(__doc__).parse_args(arguments)
    return run_benchmark(options, measure, tabulate)


def measure(model: str, batch: int, options: argparse.Namespace, tell: Progress) -> list[BenchRow]:
    """Returns the rows of one model and batch, one for each number of threads; compiled once."""
    source = find_model(model)
    return bench(
        source.path,
        name=source.name,
        against=options.against,
        settings=measure_settings(options),
        shapes=input_shapes(source.path, batch),
        progress=tell,
    )


def tabulate(rows: Sequence[BenchRow], peers: Sequence[str]) -> str:
    """Returns the table of rows."""
    headings = [
        *latency_headings([f"{PEERS.get(peer, peer)} ms" for peer in peers], "roofline"),
        "compile s", "artifact MB", "peak RSS MB", *(f"{PEERS.get(p, p)} RSS MB" for p in peers),
    ]  # fmt: skip
    return markdown_table(headings, [_cells(row, peers) for row in rows])


def _cells(row: BenchRow, peers: Sequence[str]) -> list[str]:
    return [
        *latency_cells(row, [formats.milliseconds(row.peers.get(peer)) for peer in peers]),
        seconds_cell(row.compile_s),
        f"{row.artifact_mb:.1f}",
        memory_cell(row.peak_rss_mb),
        *(memory_cell(row.peers_peak_rss_mb.get(peer)) for peer in peers),
    ]


if __name__ == "__main__":
    sys.exit(main())
