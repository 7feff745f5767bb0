"""Latency of models while other processes keep the CPUs busy, against ONNX Runtime and OpenVINO.

A server is seldom alone on its machine. Each engine runs a model in a process of its own, in turn,
a slice of time each, while some processes compute without end beside it, the same for all:

    python benchmarks/under_load.py --json under_load.json

or for a part: --models cifar_resnet,minilm --busy 0,1 --seconds 20. Medians and p95 are
of all slices; a ratio is the peer's median over Ingot's, with the interval of resampled slices.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.latency import (
    MODELS,
    PEERS,
    TOKENS,
    describe_machine,
    input_shapes,
    interval_cell,
    ratio_cell,
)
from benchmarks.tables import markdown_table, names
from ingot.cli.source import find_model
from ingot.compiler.build import compile_model
from ingot.compiler.ingest import ingest
from ingot.errors import IngotError
from ingot.report.bench import bound_model, random_arrays
from ingot.report.machine import machine_facts
from ingot.report.measure import choose_cpus
from ingot.report.process import Worker
from ingot.report.rendering import formats
from ingot.statistics import ratio_of_medians

_SLICES = 12
_WARM_UP_SECONDS = 1.0
# Of two engines' slices as many samples are compared as the slower one has at least.
_FEWEST = 3
_BUSY = "while True: pass"
Slices = list[np.ndarray[Any, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    machine = machine_facts()
    print(describe_machine(machine), flush=True)
    rows: list[dict[str, Any]] = []
    try:
        for model in options.models:
            rows += _measure_model(model, options)
            if options.json is not None:
                document = {"machine": machine.model_dump(mode="json"), "rows": rows}
                options.json.write_text(json.dumps(document, indent=1) + "\n")
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(_table(rows, options.against))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--models", type=names, default=MODELS, help="names or paths: a,b")
    parser.add_argument("--threads", type=int, default=min(2, cpus), help="per inference")
    parser.add_argument(
        "--busy",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[0, 1, 2],
        help="busy processes per core",
    )
    parser.add_argument("--against", type=names, default=("onnxruntime", "openvino"))
    parser.add_argument("--seconds", type=float, default=12.0, help="for each engine and load")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _measure_model(model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    source = find_model(model)
    cpus = choose_cpus(options.threads)
    with tempfile.TemporaryDirectory(prefix="ingot-") as scratch, contextlib.ExitStack() as stack:
        shapes = input_shapes(source.path, 1)
        compiled = compile_model(source.path, Path(scratch) / "own.ingot", shapes=shapes)
        workers: dict[str, Worker] = {}

        def start(engine: Any, path: Path) -> None:
            worker = Worker(engine, engine, path, threads=options.threads, cpus=cpus)
            workers[engine] = stack.enter_context(worker)

        start("ingot", compiled.path)
        inputs = random_arrays(workers["ingot"].inputs, shapes)
        ingested = ingest(source.path, shapes=shapes, simplified=False)
        bound = bound_model(ingested, source.path, inputs, Path(scratch) / "bound.onnx")
        for peer in options.against:
            start(peer, bound)
        for worker in workers.values():
            worker.set_inputs(inputs)
        return [
            _row(source.name, busy, options, _slices(workers, busy, cpus, options.seconds))
            for busy in options.busy
        ]


@contextlib.contextmanager
def _busy_processes(count: int, cpus: Sequence[int]) -> Iterator[None]:
    """Keeps the CPUs busy with so many processes each, which may move between them."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", _BUSY],
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        for _ in range(count * len(cpus))
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _slices(
    workers: Mapping[str, Worker], busy: int, cpus: Sequence[int], seconds: float
) -> dict[str, Slices]:
    """Times the engines in turn; returns the milliseconds of each inference, slice by slice."""
    with _busy_processes(busy, cpus):
        runs = {
            name: max(_FEWEST, _runs(worker, seconds / _SLICES)) for name, worker in workers.items()
        }
        taken: dict[str, Slices] = {name: [] for name in workers}
        for turn in range(_SLICES):
            order = list(workers)[:: 1 if turn % 2 else -1]
            for name in order:
                taken[name].append(workers[name].time(runs[name]) / 1e6)
        return taken


def _runs(worker: Worker, seconds: float) -> int:
    """How many inferences take so long; warms up meanwhile."""
    end = time.monotonic() + _WARM_UP_SECONDS
    samples = [worker.time(2)]
    while time.monotonic() < end:
        samples.append(worker.time(2))
    return int(seconds * 1e9 / float(np.mean(np.concatenate(samples))))


def _row(
    model: str, busy: int, options: argparse.Namespace, slices: Mapping[str, Slices]
) -> dict[str, Any]:
    figures = {
        engine: {
            "median_ms": float(np.median(np.concatenate(taken))),
            "p95_ms": float(np.quantile(np.concatenate(taken), 0.95)),
            "mean_ms": float(np.mean(np.concatenate(taken))),
            "runs": sum(map(len, taken)),
        }
        for engine, taken in slices.items()
    }
    ratios = {}
    for peer in options.against:
        fewest = min(len(each) for name in ("ingot", peer) for each in slices[name])
        first, own = ([each[:fewest] for each in slices[name]] for name in (peer, "ingot"))
        estimate = ratio_of_medians(first, own)
        ratios[peer] = [estimate.value, estimate.low, estimate.high]
    return {
        "model": model,
        "precision": "fp32",
        "threads": options.threads,
        "batch": 1,
        "tokens": TOKENS,
        "busy_per_cpu": busy,
        "engines": figures,
        "ratios": ratios,
    }


def _table(rows: Sequence[Mapping[str, Any]], peers: Sequence[str]) -> str:
    headings = ["model", "busy per CPU", "Ingot median / p95 ms"]
    for peer in peers:
        shown = PEERS.get(peer, peer)
        headings += [f"{shown} median / p95 ms", f"{shown} ÷ Ingot", "95 % interval"]
    return markdown_table(headings, [_cells(row, peers) for row in rows])


def _cells(row: Mapping[str, Any], peers: Sequence[str]) -> list[str]:
    cells = [row["model"], str(row["busy_per_cpu"]), _times(row["engines"]["ingot"])]
    for peer in peers:
        value, low, high = row["ratios"][peer]
        cells += [_times(row["engines"][peer]), ratio_cell(value), interval_cell(low, high)]
    return cells


def _times(figures: Mapping[str, float]) -> str:
    return (
        f"{formats.milliseconds(figures['median_ms'])} / {formats.milliseconds(figures['p95_ms'])}"
    )


if __name__ == "__main__":
    sys.exit(main())
