"""Current architectures on this CPU in fp32, against ONNX Runtime and OpenVINO.

Builds networks of benchmarks/networks/catalog.py with seeded weights, compiles each, which holds it
to ONNX Runtime, times it in turn with its peers, as benchmarks/cpu_fp32.py does, and prints one row
for each and number of threads, then how each half of the networks does:

    python benchmarks/architectures.py --json architectures.json

Half of the networks are held out: they are only run at the end, by --half held_out or all, to see
whether what was made for the others holds for what nobody looked at. A part: --models vit,yolo
--threads 1. With --no-timing networks are only compiled, with fixed and with open sizes, and the
table says what was compiled and what was left. A network that is refused, or whose code is not
right, is said below the table, and the exit code is 1. It needs the package openvino beside
ingot[compile]; --against onnxruntime does without.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnx

from benchmarks.latency import (
    OF_FP32,
    PEERS,
    describe_machine,
    latency_cells,
    latency_headings,
    measure_settings,
    seconds_cell,
)
from benchmarks.networks.catalog import HALVES, NETWORKS, Half, Network, by_name
from benchmarks.tables import markdown_table, names
from ingot.cli.measuring import progress
from ingot.compiler.build import Artifact, compile_model
from ingot.errors import IngotError, UsageError
from ingot.progress import Progress
from ingot.report.bench import BenchRow, bench
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.measure import choose_cpus
from ingot.report.process import Worker
from ingot.report.rendering import formats

_ALL = tuple(network.name for network in NETWORKS)
_SIZES = ("fixed", "open")
_MB = 1e6
_COMPILED = ("network", "half", "sizes", "weights MB", "artifact MB", "compile s", "compiled",
             "left", "difference")  # fmt: skip
_SUMMARY = ("half", "threads", "networks", "ahead of the best peer", "geometric mean", "lowest",
            "which")  # fmt: skip


class ArchitectureRow(BenchRow):
    """A row of a network's latency.

    Attributes:
        half: What the network is for.
        left: Nodes that ONNX Runtime runs.
    """

    half: Half
    left: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles and times, prints the tables and writes the JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    wrong = _wrong_use(options)
    if wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    machine = machine_facts()
    print(describe_machine(machine), flush=True)
    for warning in [] if options.no_timing else machine_warnings(machine, max(options.threads)):
        print(f"Warning: {warning}", flush=True)
    rows: list[Any] = []
    failures: list[str] = []

    def write() -> None:
        if options.json is not None:
            facts = machine.model_dump(mode="json")
            _write(options.json, facts, rows, failures, timed=not options.no_timing)

    made = _compiled_rows if options.no_timing else _timed_rows
    try:
        with progress() as tell:
            for name, sizes in _work(options):
                try:
                    rows += made(by_name(name), sizes, options, tell)
                except UsageError as error:
                    print(f"error: {error}", file=sys.stderr)
                    return error.exit_code
                except IngotError as error:
                    failures.append(f"{name}, {sizes} sizes: {error}")
                write()
    finally:
        _print(rows, failures, options)
    return int(bool(failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = sorted({1, min(2, len(os.sched_getaffinity(0)))})
    parser.add_argument("--models", type=names, help="names: a,b; by default all of the half")
    parser.add_argument(
        "--half", choices=(*HALVES, "all"),
        help="which networks; by default development, of those that are only compiled all",
    )  # fmt: skip
    parser.add_argument("--threads", type=_numbers, default=counts, help="such as 1,2")
    parser.add_argument("--against", type=names, default=OF_FP32, help="the peers")
    parser.add_argument("--runs", type=int, default=100, help="timed inferences per variant")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long at most")
    parser.add_argument("--no-timing", action="store_true", help="compile only")
    parser.add_argument("--sizes", type=names, default=_SIZES, help="fixed, open: what to compile")
    parser.add_argument("--small", action="store_true", help="the small forms, as in the tests")
    parser.add_argument("--target", default="cpu", help="such as cpu:mcpu=znver4")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _wrong_use(options: argparse.Namespace) -> str | None:
    half = _half(options)
    for name in options.models or ():
        if name not in _ALL:
            return f"no network is called {name}; there are {', '.join(_ALL)}"
        if half not in ("all", by_name(name).half):
            return f"{name} is of the other half: give --half {by_name(name).half}, or all"
    for peer in options.against:
        if peer not in OF_FP32:
            return f"--against {peer} is none of {', '.join(OF_FP32)}"
    for sizes in options.sizes:
        if sizes not in _SIZES:
            return f"--sizes {sizes} is none of {', '.join(_SIZES)}"
    return None


def _half(options: argparse.Namespace) -> str:
    return options.half or ("all" if options.no_timing else HALVES[0])


def _work(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The networks, each with the sizes to compile it for."""
    half = _half(options)
    chosen = options.models or [each.name for each in NETWORKS if half in ("all", each.half)]
    every = options.sizes if options.no_timing else _SIZES[:1]
    return [(name, sizes) for name in chosen for sizes in every]


def _compiled(
    network: Network, sizes: str, folder: Path, options: argparse.Namespace
) -> tuple[Path, Artifact, float]:
    """The network's file, its artifact, and how many seconds that took."""
    path = folder / f"{network.name}.onnx"
    onnx.save(network.model(open_sizes=sizes == "open", small=options.small), path)
    begun = time.perf_counter()
    artifact = compile_model(path, path.with_suffix(".ingot"), target=options.target)
    return path, artifact, time.perf_counter() - begun


def _compiled_rows(
    network: Network, sizes: str, options: argparse.Namespace, tell: Progress
) -> list[dict[str, Any]]:
    tell(f"{network.name}, {sizes} sizes", 0, 0)
    with tempfile.TemporaryDirectory(prefix="ingot-") as folder:
        path, artifact, seconds = _compiled(network, sizes, Path(folder), options)
        return [{
            "model": network.name,
            "half": network.half,
            "sizes": sizes,
            "weights_mb": path.stat().st_size / _MB,
            "artifact_mb": artifact.size / _MB,
            "compile_s": seconds,
            **_placed(artifact),
            "max_rel_error": artifact.manifest.measured["verification"]["max_rel_error"],
        }]  # fmt: skip


def _placed(artifact: Artifact) -> dict[str, Any]:
    placement = artifact.manifest.placement
    left = placement.get("onnxruntime", {})
    return {
        "compiled": placement.get("cpu", {}).get("nodes", 0),
        "left": left.get("nodes", 0),
        "reasons": [f"{entry['operator']}: {entry['reason']}" for entry in left.get("left", ())],
    }


def _timed_rows(
    network: Network, sizes: str, options: argparse.Namespace, tell: Progress
) -> list[ArchitectureRow]:
    """A row for each number of threads."""
    tell(f"{network.name}: compiling", 0, 0)
    with tempfile.TemporaryDirectory(prefix="ingot-") as folder:
        path, artifact, seconds = _compiled(network, sizes, Path(folder), options)
        rows = bench(
            path,
            artifact=artifact.path,
            name=network.name,
            against=[peer for peer in options.against if _runs(peer, path)],
            settings=measure_settings(options),
            progress=lambda what, done, total: tell(f"{network.name}: {what}", done, total),
        )
        left = _placed(artifact)["left"]
        return [
            ArchitectureRow(**{**dict(row), "compile_s": seconds}, half=network.half, left=left)
            for row in rows
        ]


def _runs(peer: str, path: Path) -> bool:
    """Whether a peer can load a model; says where it cannot."""
    try:
        Worker(peer, peer, path, threads=1, cpus=choose_cpus(1)).close()
    except UsageError:
        raise
    except IngotError as error:
        print(f"Not timed: {path.stem}: {error}", flush=True)
        return False
    return True


def summaries(rows: Sequence[ArchitectureRow]) -> list[dict[str, Any]]:
    """How each half does with each number of threads.

    Returns:
        For each: the networks, the share of them on which Ingot is ahead of the best peer, the
        geometric mean of the ratios, and the lowest ratio with the network that has it.
    """
    found = []
    for threads in sorted({row.threads for row in rows}):
        for half in HALVES:
            ratios = {
                row.model: row.ratio for row in rows
                if row.threads == threads and row.half == half and row.ratio is not None
            }  # fmt: skip
            if not ratios:
                continue
            lowest = min(ratios, key=ratios.__getitem__)
            logarithms = math.fsum(map(math.log, ratios.values()))
            found.append({
                "half": half,
                "threads": threads,
                "networks": len(ratios),
                "ahead": sum(ratio > 1.0 for ratio in ratios.values()) / len(ratios),
                "geometric_mean": math.exp(logarithms / len(ratios)),
                "lowest": ratios[lowest],
                "lowest_network": lowest,
            })  # fmt: skip
    return found


def differences(found: Sequence[dict[str, Any]]) -> dict[int, float]:
    """By threads, how far the held out half's geometric mean is above the other's, as a part."""
    means = {(entry["threads"], entry["half"]): entry["geometric_mean"] for entry in found}
    return {
        threads: means[threads, "held_out"] / means[threads, "development"] - 1.0
        for threads in sorted({entry["threads"] for entry in found})
        if all((threads, half) in means for half in HALVES)
    }


def _print(rows: Sequence[Any], failures: Sequence[str], options: argparse.Namespace) -> None:
    if options.no_timing:
        print(markdown_table(_COMPILED, [_compiled_cells(row) for row in rows], text_columns=3))
    elif rows:
        _print_timed(rows, options.against)
    for failure in failures:
        print(f"Failed: {failure}")


def _print_timed(rows: Sequence[ArchitectureRow], peers: Sequence[str]) -> None:
    headings = [
        *latency_headings([f"{PEERS[peer]} ms" for peer in peers], "roofline"),
        "half", "compile s", "artifact MB", "left",
    ]  # fmt: skip
    print(markdown_table(headings, [_timed_cells(row, peers) for row in rows]))
    found = summaries(rows)
    print()
    print(markdown_table(_SUMMARY, [_summary_cells(entry) for entry in found]))
    for threads, difference in differences(found).items():
        print(f"The held out half, {threads} thread{'s' * (threads > 1)}: {difference:+.1%} of the "
              "other's geometric mean")  # fmt: skip


def _compiled_cells(row: dict[str, Any]) -> list[str]:
    return [
        row["model"],
        row["half"],
        row["sizes"],
        f"{row['weights_mb']:.1f}",
        f"{row['artifact_mb']:.1f}",
        f"{row['compile_s']:.1f}",
        str(row["compiled"]),
        str(row["left"]),
        f"{row['max_rel_error']:.1e}",
    ]


def _timed_cells(row: ArchitectureRow, peers: Sequence[str]) -> list[str]:
    return [
        *latency_cells(row, [formats.milliseconds(row.peers.get(peer)) for peer in peers]),
        row.half,
        seconds_cell(row.compile_s),
        f"{row.artifact_mb:.1f}",
        str(row.left),
    ]


def _summary_cells(entry: dict[str, Any]) -> list[str]:
    return [
        entry["half"],
        str(entry["threads"]),
        str(entry["networks"]),
        f"{entry['ahead']:.0%}",
        f"{entry['geometric_mean']:.3f}",
        f"{entry['lowest']:.3f}",
        entry["lowest_network"],
    ]


def _write(
    path: Path, machine: dict[str, Any], rows: Sequence[Any], failures: Sequence[str], *,
    timed: bool,
) -> None:  # fmt: skip
    document: dict[str, Any] = {"machine": machine, "failures": list(failures)}
    if timed:
        found = summaries(rows)
        document |= {
            "rows": [row.model_dump(mode="json") for row in rows],
            "halves": found,
            "differences": [
                {"threads": threads, "held_out": value}
                for threads, value in differences(found).items()
            ],
        }
    else:
        document["rows"] = list(rows)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
