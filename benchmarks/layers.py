"""Random layers on this CPU against ONNX Runtime and OpenVINO: a distribution for each family.

Draws seeded random layers of plausible sizes (benchmarks/layer_families), compiles each, times it
in turn with its peers, and prints for each family how best peer ÷ Ingot is distributed, and below
the table which layers are slow:

    python benchmarks/layers.py --json layers.json

or for a part: --family depthwise,grouped --precision int8 --count 8 --threads 1,2. --layers 3,17
times layers by number; with --keep FOLDER their models and artifacts stay, for `ingot profile`.
A layer that Ingot refuses, or leaves to ONNX Runtime, is said below the table, and the exit code
is 1. It needs the package openvino beside ingot[compile]; --against onnxruntime does without.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx

from benchmarks.latency import OF_FP32, PEERS, announce_machine, interval_cell, ratio_cell
from benchmarks.layer_families.catalog import FAMILIES, Family, Layer, by_name
from benchmarks.layer_families.writer import Precision
from benchmarks.layer_timing import ENGINES, INGOT, LayerTimer, LayerTimes
from benchmarks.tables import markdown_table, names
from ingot.cli.measuring import progress
from ingot.compiler.build import Artifact, compile_model
from ingot.errors import IngotError
from ingot.progress import Progress
from ingot.report.rendering import formats

_ALL = tuple(family.name for family in FAMILIES)
_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
_COUNT = 40
_SLOW = 0.9
_SUMMARY = ("family", "precision", "threads", "layers", "median", "10th percentile", "lowest",
            "which")  # fmt: skip
_SLOW_ROWS = ("family", "precision", "number", "layer", "threads", "Ingot ms")


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer to time.

    Attributes:
        family: Its family.
        number: Its number there.
        precision: What it is built in.
        layer: Its sizes.
    """

    family: Family
    number: int
    precision: Precision
    layer: Layer

    @property
    def name(self) -> str:
        """A name that files may have."""
        return f"{self.family.name}_{self.precision}_{self.number}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Times, prints the tables and writes the JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    wrong = _wrong_use(options)
    if wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    machine = announce_machine(max(options.threads))
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    try:
        with progress() as tell:
            for row in _rows(options, failures, tell):
                rows.append(row)
                if options.json is not None:
                    _write(options.json, machine.model_dump(mode="json"), rows, failures)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if options.json is not None:
            _write(options.json, machine.model_dump(mode="json"), rows, failures)
        if rows:
            print(markdown_table(_SUMMARY, [_summary_cells(s) for s in summaries(rows)],
                                 text_columns=2))  # fmt: skip
            _print_slow(rows, options.against)
        for failure in failures:
            print(f"Failed: {failure}")
    return int(bool(failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", type=names, default=_ALL, help="names: a,b")
    parser.add_argument("--precision", type=names, default=_PRECISIONS, help="fp32, int8, or both")
    parser.add_argument("--count", type=int, default=_COUNT, help="layers of each family")
    parser.add_argument("--layers", type=_numbers, help="layers by number instead, such as 3,17")
    parser.add_argument("--seed", type=int, default=0, help="of sizes and weights")
    parser.add_argument("--threads", type=_numbers, default=[1], help="such as 1,2")
    parser.add_argument("--against", type=names, default=OF_FP32, help="the peers")
    parser.add_argument("--milliseconds", type=float, default=100.0, help="per layer and engine")
    parser.add_argument("--target", default="cpu", help="such as cpu:mcpu=znver4")
    parser.add_argument("--keep", type=Path, help="a folder that keeps models and artifacts")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _wrong_use(options: argparse.Namespace) -> str | None:
    known = {"family": _ALL, "precision": _PRECISIONS, "against": tuple(ENGINES)[1:]}
    for option, values in known.items():
        for given in getattr(options, option):
            if given not in values:
                return f"--{option} {given} is none of {', '.join(values)}"
    for count in options.threads:
        if not 1 <= count <= len(os.sched_getaffinity(0)):
            return f"--threads {count} is more than this process may use, or less than 1"
    return None


def _rows(
    options: argparse.Namespace, failures: list[str], tell: Progress
) -> Iterator[dict[str, Any]]:
    """Compiles and times each layer: a row for each number of threads, and failures by name."""
    cases = list(_cases(options))
    with contextlib.ExitStack() as stack:
        timers = {count: stack.enter_context(LayerTimer(count)) for count in options.threads}
        folder = options.keep
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingot-")))
        folder.mkdir(parents=True, exist_ok=True)
        for index, case in enumerate(cases):
            tell(f"{case.name}: {case.layer}", index, len(cases))
            try:
                yield from _timed(case, folder, timers, options)
            except IngotError as error:
                failures.append(f"{case.name} ({case.layer}): {error}")
            if options.keep is None:
                for file in folder.iterdir():
                    file.unlink()


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    for name in options.family:
        family = by_name(name)
        for precision in _PRECISIONS:
            if precision in options.precision and precision in family.precisions:
                for number in options.layers or range(options.count):
                    yield Case(family, number, precision, family.layer(number, options.seed))


def _timed(
    case: Case, folder: Path, timers: dict[int, LayerTimer], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    path = folder / f"{case.name}.onnx"
    onnx.save(case.layer.build(case.precision, options.seed + case.number), path)
    began = time.perf_counter()
    artifact = compile_model(path, path.with_suffix(".ingot"), target=options.target)
    seconds = time.perf_counter() - began
    require_compiled(artifact)
    for threads, timer in timers.items():
        files = {INGOT: artifact.path, **dict.fromkeys(options.against, path)}
        peak = case.precision if case.layer.work else None
        times = timer.time(files, options.milliseconds / 1e3, peak)
        yield _row(case, artifact, seconds, threads, times)


def require_compiled(artifact: Artifact) -> None:
    """Checks that nothing is left to ONNX Runtime.

    Raises:
        IngotError: Something is.
    """
    left = artifact.manifest.placement.get("onnxruntime", {}).get("left", ())
    if left:
        # Many nodes have the same reason.
        reasons = {f"{entry['operator']}: {entry['reason']}": None for entry in left}
        raise IngotError(f"left to ONNX Runtime: {'; '.join(reasons)}")


def _row(
    case: Case, artifact: Artifact, compile_s: float, threads: int, times: LayerTimes
) -> dict[str, Any]:
    ratio = times.ratio()
    own = times.median(INGOT)
    gops = 2.0 * case.layer.work / own / 1e6
    return {
        "model": case.name,
        "family": case.family.name,
        "number": case.number,
        "layer": str(case.layer),
        "precision": case.precision,
        "threads": threads,
        "batch": case.layer.batch,
        "ingot_ms": own,
        "peers": {engine: times.median(engine) for engine in times.rounds if engine != INGOT},
        "ratio": ratio and ratio.value,
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "percent_of_roofline": 100.0 * gops / times.peak_gops if times.peak_gops else None,
        "peak_gops": times.peak_gops,
        "compile_s": compile_s,
        "artifact_mb": artifact.size / 1e6,
        "plain_loops": list(artifact.manifest.placement["cpu"].get("unscheduled", ())),
    }


def summaries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the ratios of each family, precision and number of threads are distributed.

    Returns:
        For each: the median, the 10th percentile, the lowest ratio and the layer that has it.
    """
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        if row["ratio"] is not None:
            key = (row["family"], row["precision"], row["threads"])
            groups.setdefault(key, []).append(row)
    found = []
    for (family, precision, threads), group in groups.items():
        ratios = [row["ratio"] for row in group]
        lowest = group[int(np.argmin(ratios))]
        found.append(
            {
                "family": family,
                "precision": precision,
                "threads": threads,
                "layers": len(group),
                "median": float(np.median(ratios)),
                "tenth_percentile": float(np.quantile(ratios, 0.1)),
                "lowest": lowest["ratio"],
                "lowest_layer": f"{lowest['number']}: {lowest['layer']}",
            }
        )
    return found


def _summary_cells(summary: dict[str, Any]) -> list[str]:
    return [
        summary["family"],
        summary["precision"],
        str(summary["threads"]),
        str(summary["layers"]),
        *(ratio_cell(summary[key]) for key in ("median", "tenth_percentile", "lowest")),
        summary["lowest_layer"],
    ]


def _print_slow(rows: Sequence[dict[str, Any]], peers: Sequence[str]) -> None:
    """Prints the layers that a peer runs clearly faster, the slowest first."""
    slow = [row for row in rows if row["ratio"] is not None and row["ratio"] < _SLOW]
    if not slow:
        return
    slow.sort(key=lambda row: row["ratio"])
    headings = (*_SLOW_ROWS, *(f"{PEERS[peer]} ms" for peer in peers), "best peer ÷ Ingot",
                "95 % interval", "of roofline", "plain loops")  # fmt: skip
    print(f"\nBelow {_SLOW}:\n")
    print(markdown_table(headings, [_slow_cells(row, peers) for row in slow], text_columns=4))


def _slow_cells(row: dict[str, Any], peers: Sequence[str]) -> list[str]:
    return [
        row["family"],
        row["precision"],
        str(row["number"]),
        row["layer"],
        str(row["threads"]),
        formats.milliseconds(row["ingot_ms"]),
        *(formats.milliseconds(row["peers"].get(peer)) for peer in peers),
        ratio_cell(row["ratio"]),
        interval_cell(row["ratio_low"], row["ratio_high"]),
        formats.percent(row["percent_of_roofline"]),
        str(len(row["plain_loops"])),
    ]


def _write(
    path: Path, machine: dict[str, Any], rows: Sequence[dict[str, Any]], failures: Sequence[str]
) -> None:
    document = {
        "machine": machine,
        "rows": rows,
        "families": summaries(rows),
        "failures": list(failures),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
