"""ONNX's node conformance suite through Ingot and through ONNX Runtime, by operator.

    python -m benchmarks.conformance                        the table of all cases
    python -m benchmarks.conformance --operator Pad,Resize  of some operators
    python -m benchmarks.conformance --case test_abs        one case, with the reason
    python -m benchmarks.conformance --record               what came is expected from now on
    python -m benchmarks.conformance --markdown             write the page of what is recorded

A case passes compiled, or with a region that ONNX Runtime runs, or is refused with an error of
Ingot's. Anything else is a fault.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from benchmarks.conformance_cases import Case, load_cases
from benchmarks.conformance_engines import ENGINE_NAMES, run_ingot, run_onnxruntime
from benchmarks.conformance_outcomes import PASSED, Kind, Outcome
from benchmarks.conformance_record import (
    RECORD,
    Outcomes,
    read_record,
    write_page,
    write_record,
)
from benchmarks.conformance_workers import run_cases
from benchmarks.tables import markdown_table, names
from ingot.report.rendering.formats import MISSING

# An outcome for each engine, by case.
Results = dict[str, dict[str, Outcome]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the cases, prints the table, writes what was asked for; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.markdown and not options.record:
        write_page()
        return 0
    cases = _chosen(load_cases(), options)
    if not cases:
        print("error: no case has such a name or operator", file=sys.stderr)
        return 2
    results = _resumed(options.json) if options.resume else {}
    engines = [run_ingot] if options.no_peer else [run_ingot, run_onnxruntime]
    tasks = [
        (engine, case)
        for case in cases.values()
        for engine in engines
        if ENGINE_NAMES[engine] not in results.get(case.name, {})
    ]
    for number, (engine, case, outcome) in enumerate(
        run_cases(tasks, jobs=options.jobs, seconds=options.seconds), 1
    ):
        results.setdefault(case.name, {})[ENGINE_NAMES[engine]] = outcome
        _tell(f"{number} of {len(tasks)}: {case.name}")
        if options.json is not None and (number % 50 == 0 or number == len(tasks)):
            _write_json(options.json, cases, results)
    _tell("")
    print(_table(cases, results))
    print(f"\n{_totals(results)}")
    for name in cases:
        outcome = results[name]["ingot"]
        if outcome.kind is not Kind.COMPILED and (options.failures or len(cases) <= 20):
            print(f"{name}: {outcome.kind.value}: {outcome.reason}")
    if options.record:
        _record(cases, results)
    if options.markdown:
        write_page()
    faults = [name for name in cases if results[name]["ingot"].kind not in (*PASSED, Kind.REFUSED)]
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operator", type=names, default=(), help="operators: Pad,Resize")
    parser.add_argument("--case", type=names, default=(), help="cases: test_abs,test_acos")
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cpus, help="processes at a time")
    parser.add_argument("--seconds", type=float, default=120.0, help="the most for one case")
    parser.add_argument("--no-peer", action="store_true", help="leave ONNX Runtime out")
    parser.add_argument(
        "--failures", action="store_true", help="list what is not compiled, and why"
    )
    parser.add_argument("--json", type=Path, help="a file that receives the outcomes")
    parser.add_argument("--resume", action="store_true", help="keep what --json's file has")
    parser.add_argument("--record", action="store_true", help="write the expectations")
    parser.add_argument("--markdown", action="store_true", help="write docs/operators.md")
    return parser


def _chosen(cases: Mapping[str, Case], options: argparse.Namespace) -> dict[str, Case]:
    if not options.operator and not options.case:
        return dict(cases)
    return {
        name: case
        for name, case in cases.items()
        if name in options.case or case.operator in options.operator
    }


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _resumed(path: Path | None) -> Results:
    if path is None or not path.is_file():
        return {}
    return {
        row["case"]: {
            engine: Outcome(Kind(row[engine]["kind"]), row[engine]["reason"])
            for engine in ENGINE_NAMES.values()
            if engine in row
        }
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
    }


def _write_json(path: Path, cases: Mapping[str, Case], results: Results) -> None:
    rows = [
        {
            "case": name,
            "operator": case.operator,
            **{
                engine: {"kind": outcome.kind.value, "reason": outcome.reason}
                for engine, outcome in results[name].items()
            },
        }
        for name, case in cases.items()
        if name in results
    ]
    path.write_text(json.dumps({"onnx": onnx.__version__, "rows": rows}, indent=1) + "\n")


def _table(cases: Mapping[str, Case], results: Results) -> str:
    """By operator: how many cases pass compiled, with a region, and by ONNX Runtime."""
    operators: dict[str, list[str]] = collections.defaultdict(list)
    for name, case in cases.items():
        operators[case.operator].append(name)
    rows = []
    for operator, members in operators.items():
        kinds = collections.Counter(results[name]["ingot"].kind for name in members)
        peer = [results[name].get("onnxruntime") for name in members]
        passed = sum(outcome is not None and outcome.kind in PASSED for outcome in peer)
        rows.append([
            operator,
            str(kinds[Kind.COMPILED]),
            str(kinds[Kind.COMPILED] + kinds[Kind.REGION]),
            MISSING if None in peer else str(passed),
            str(len(members)),
        ])  # fmt: skip
    headings = ["operator", "Ingot compiled", "Ingot with regions", "ONNX Runtime", "cases"]
    return markdown_table(headings, rows)


def _totals(results: Results) -> str:
    kinds = collections.Counter(entry["ingot"].kind for entry in results.values())
    peers = [entry["onnxruntime"] for entry in results.values() if "onnxruntime" in entry]
    passed = sum(kinds[kind] for kind in PASSED)
    counts = ", ".join(f"{kind.value} {kinds[kind]}" for kind in Kind)
    lines = [f"{len(results)} cases of onnx {onnx.__version__}: {passed} pass ({counts})"]
    if peers:
        lines.append(f"ONNX Runtime: {sum(peer.kind in PASSED for peer in peers)} pass")
    return "\n".join(lines)


def _record(cases: Mapping[str, Case], results: Results) -> None:
    """Writes what came; what the record has of other cases of this suite stays."""
    kept: Outcomes = read_record()[1] if RECORD.is_file() else {}
    for name, case in cases.items():
        kept.setdefault(case.operator, {})[name] = results[name]["ingot"]
    write_record(onnx.__version__, kept)


if __name__ == "__main__":
    sys.exit(main())
