"""What a session costs beside its kernels: calls, callers at once, cold start, and what is left.

    python benchmarks/session_costs.py

or a part of it: --parts call,callers,start,soak. ``call`` times a bound run of one small layer, and
its kernel within it; ``callers`` compares two callers with one, each on one thread, on one session
and on two; ``start`` starts Python, imports, loads and answers once, beside ONNX Runtime; ``soak``
runs a million times and loads a thousand times, and looks at memory, threads and descriptors.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx

from benchmarks.latency import describe_machine, input_shapes
from benchmarks.tables import names
from ingot.cli.source import find_model
from ingot.compiler.build import compile_model
from ingot.compiler.fresh_process.session import environment_of_this_ingot
from ingot.report.bench import input_specs, random_arrays
from ingot.report.machine import machine_facts
from ingot.runtime.session import Session

_LAYER = """<ir_version: 10, opset_import: ["": 20]>
layer (float[1, 64] x) => (float[1, 64] y) { y = Relu(x) }"""
_CALLS = 20_000
_ROUNDS, _ROUND_SECONDS = 10, 0.5
_STARTS = 15
_SOAK_RUNS, _SOAK_LOADS = 1_000_000, 1_000

_START = {
    "ingot": """
import sys, numpy as np
from ingot.runtime import Session
session = Session(sys.argv[1], threads=int(sys.argv[3]))
with np.load(sys.argv[2]) as inputs:
    session.run(dict(inputs))
""",
    "onnxruntime": """
import sys, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
with np.load(sys.argv[2]) as inputs:
    session.run(None, dict(inputs))
""",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=names, default=tuple(_PARTS), help="a,b")
    parser.add_argument("--model", default="mobilenetv2", help="for start and callers")
    parser.add_argument("--json", type=Path, help="a file that receives the figures")
    options = parser.parse_args(arguments)
    machine = machine_facts()
    print(describe_machine(machine), flush=True)
    figures: dict[str, Any] = {"machine": machine.model_dump(mode="json")}
    with tempfile.TemporaryDirectory(prefix="ingot-") as folder:
        for part in options.parts:
            figures[part] = _PARTS[part](Path(folder), options.model)
            shown = ", ".join(f"{name} {value}" for name, value in figures[part].items())
            print(f"{part}: {shown}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def _layer(folder: Path) -> Path:
    path = folder / "layer.ingot"
    if not path.exists():
        compile_model(onnx.parser.parse_model(_LAYER), path)
    return path


def _call(folder: Path, _: str) -> dict[str, Any]:
    """Microseconds of a bound run, of ``run``, and of the one kernel."""
    with Session(_layer(folder), threads=1) as session:
        x = np.ones((1, 64), np.float32)
        bound = session.bind()
        figures = {
            "bound_us": _microseconds(bound.run),
            "run_us": _microseconds(lambda: session.run({"x": x})),
        }
        kernels = [
            sum(end - start for _, start, end in session.run_timed({"x": x})[1])
            for _ in range(_CALLS // 10)
        ]
    figures["kernel_us"] = round(statistics.median(kernels) / 1e3, 3)
    return {**figures, "bound_beyond_kernel_us": figures["bound_us"] - figures["kernel_us"]}


def _microseconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_CALLS):
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return round(statistics.median(times) / 1e3, 3)


def _callers(folder: Path, model: str) -> dict[str, Any]:
    """Inferences of two callers over those of one, medians of rounds in turn."""
    source = find_model(model)
    shapes = input_shapes(source.path, 1)
    path = folder / "callers.ingot"
    manifest = compile_model(source.path, path, shapes=shapes).manifest
    inputs = random_arrays(input_specs(manifest), shapes)
    with Session(path, threads=1) as first, Session(path, threads=1) as second:
        ratios: dict[str, list[float]] = {"one_session": [], "two_sessions": []}
        for _ in range(_ROUNDS):
            alone = _inferences([first], inputs)
            ratios["one_session"].append(_inferences([first, first], inputs) / alone)
            ratios["two_sessions"].append(_inferences([first, second], inputs) / alone)
    return {name: round(statistics.median(found), 3) for name, found in ratios.items()}


def _inferences(sessions: Sequence[Session], inputs: dict[str, Any]) -> int:
    """How many inferences callers do in a round, one for each of the sessions."""
    counts = [0] * len(sessions)
    begin = threading.Barrier(len(sessions))

    def call(caller: int) -> None:
        begin.wait()
        end = time.monotonic() + _ROUND_SECONDS
        while time.monotonic() < end:
            sessions[caller].run(inputs)
            counts[caller] += 1

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _start(folder: Path, model: str) -> dict[str, Any]:
    """Milliseconds from starting Python to the first answer, medians of starts in turn."""
    source = find_model(model)
    shapes = input_shapes(source.path, 1)
    path = folder / "start.ingot"
    manifest = compile_model(source.path, path, shapes=shapes).manifest
    np.savez(folder / "inputs.npz", **random_arrays(input_specs(manifest), shapes))
    files = {"ingot": path, "onnxruntime": source.path}
    taken: dict[str, list[float]] = {engine: [] for engine in files}
    for _ in range(_STARTS):
        for engine, file in files.items():
            command = [sys.executable, "-c", _START[engine], str(file), str(folder / "inputs.npz")]
            started = time.perf_counter()
            subprocess.run([*command, "2"], check=True, env=environment_of_this_ingot())
            taken[engine].append(1e3 * (time.perf_counter() - started))
    medians = {
        f"{engine}_ms": round(statistics.median(times), 1) for engine, times in taken.items()
    }
    return {**medians, "ratio": round(medians["ingot_ms"] / medians["onnxruntime_ms"], 3)}


def _soak(folder: Path, _: str) -> dict[str, Any]:
    """What a million runs and a thousand loads leave behind."""
    path = _layer(folder)
    x = {"x": np.ones((1, 64), np.float32)}

    def load() -> None:
        with Session(path, threads=2) as session:
            session.run(x)

    for _ in range(20):
        load()
    with Session(path, threads=2) as session:
        for _ in range(1000):
            session.run(x)
        before = _left()
        for _ in range(_SOAK_RUNS):
            session.run(x)
        after_runs = _left()
    before_loads = _left()
    for _ in range(_SOAK_LOADS):
        load()
    after_loads = _left()
    return {
        "runs": {name: after_runs[name] - before[name] for name in before},
        "loads": {name: after_loads[name] - before_loads[name] for name in before},
    }


def _left() -> dict[str, int]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "resident_kb": pages * os.sysconf("SC_PAGESIZE") // 1024,
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "mappings": Path("/proc/self/maps").read_text().count("\n"),
    }


_PARTS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "call": _call,
    "callers": _callers,
    "start": _start,
    "soak": _soak,
}

if __name__ == "__main__":
    sys.exit(main())
