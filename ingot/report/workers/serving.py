"""The loop of a worker: load one model, then answer until the other side is gone."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ingot.report.workers.protocol import Array, read_frame, write_frame


class Engine(Protocol):
    """A loaded model.

    Attributes:
        inputs: Name, NumPy dtype name and shape of each input; a string is a symbol.
        outputs: Names of the outputs.
        facts: What to tell of the engine: version, where operators run.
    """

    inputs: list[tuple[str, str, list[int | str]]]
    outputs: list[str]
    facts: dict[str, Any]

    def run(self, inputs: dict[str, Array]) -> Mapping[str, Array]:
        """Runs one inference."""


def serve(imports: Callable[[], None], load: Callable[[Path, int], Engine]) -> None:
    """Serves one model over standard input and output.

    Args:
        imports: Imports the engine's packages; memory after it is the baseline.
        load: Loads the model of a path with a number of threads.
    """
    arguments = _arguments()
    # Ctrl-C is for the process that asked; it ends this one by closing the stream.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = sys.stdin.buffer, _private_output()
    os.sched_setaffinity(0, arguments.cpus)
    try:
        imports()
        baseline = resident_bytes("VmRSS")
        started = time.perf_counter()
        engine = load(arguments.path, arguments.threads)
        seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 - told to the other side, whatever it is
        write_frame(replies, _describe(error))
        return
    hello = {
        "inputs": engine.inputs,
        "outputs": engine.outputs,
        "facts": engine.facts,
        "load_seconds": seconds,
        "baseline_bytes": baseline,
    }
    write_frame(replies, hello)
    _answer(engine, requests, replies)


def resident_bytes(field: str) -> int:
    """``VmRSS`` (memory in use now) or ``VmHWM`` (its peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _answer(engine: Engine, requests: BinaryIO, replies: BinaryIO) -> None:
    inputs: dict[str, Array] = {}
    while (frame := read_frame(requests)) is not None:
        request, arrays = frame
        try:
            operation = request["operation"]
            if operation == "inputs":
                inputs = arrays
                write_frame(replies, {})
            elif operation == "time":
                write_frame(replies, *_time(engine, inputs, request["runs"]))
            elif operation == "memory":
                write_frame(replies, {"peak_bytes": resident_bytes("VmHWM")})
            elif operation == "evaluate":
                outputs = engine.run(arrays)
                write_frame(replies, {}, {name: np.asarray(a) for name, a in outputs.items()})
            else:
                raise ValueError(f"unknown operation {operation!r}")
        except Exception as error:  # noqa: BLE001 - told to the other side, whatever it is
            write_frame(replies, _describe(error))


def _time(
    engine: Engine, inputs: dict[str, Array], runs: int
) -> tuple[dict[str, float], dict[str, Array]]:
    """What all inferences took of time and of the CPUs, and nanoseconds of each, int64 [runs]."""
    times = np.empty(runs, dtype=np.int64)
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    began, cpu_began = clock(), time.process_time_ns()
    try:
        for index in range(runs):
            started = clock()
            engine.run(inputs)
            times[index] = clock() - started
        taken, cpu_taken = clock() - began, time.process_time_ns() - cpu_began
    finally:
        gc.enable()
    return {"seconds": taken / 1e9, "cpu_seconds": cpu_taken / 1e9}, {"ns": times}


def _describe(error: Exception) -> dict[str, str]:
    message = " ".join(str(error).split()) or type(error).__name__
    return {"error": message, "kind": type(error).__name__}


def _private_output() -> BinaryIO:
    """Keeps standard output for frames alone; what a library prints goes to standard error."""
    private = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return private


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serves one model for measuring.")
    parser.add_argument("path", type=Path, help="the model or artifact")
    parser.add_argument("--threads", type=int, required=True, help="threads per inference")
    parser.add_argument(
        "--cpus",
        type=lambda text: {int(cpu) for cpu in text.split(",")},
        required=True,
        help="the CPUs to stay on, such as 0,1",
    )
    return parser.parse_args()
