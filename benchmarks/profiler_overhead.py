"""What profiling costs an inference: Ingot's sessions, and ONNX Runtime's enable_profiling.

Each engine is compared with itself, in one process: blocks of inferences with profiling off and on
take turns, forth and back, so that a drift of the machine hits all alike. The cost is the ratio of
a round's medians, median over rounds, with a bootstrap interval over these. Ingot is one session
throughout; ONNX Runtime decides when it loads a model, and has one session for each.

    python benchmarks/profiler_overhead.py --json profiler_overhead.json

or a part: --models cifar_resnet,mobilenetv2 --threads 1. What is compared with inferences of a
program that knows nothing of profiling:

- ``nothing``: each is in a block of a request of its own, and profiling is off;
- ``inferences``: a session records each inference with its stages;
- ``requests``: the same, and each is in a block of a request of its own;
- ``kernels``: each kernel as well;
- ``enable_profiling``: ONNX Runtime records each of its nodes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.latency import announce_machine, input_shapes
from benchmarks.tables import markdown_table, names
from ingot import profiling
from ingot.cli.source import find_model
from ingot.compiler.build import compile_model
from ingot.errors import IngotError
from ingot.report.bench import input_specs, random_arrays
from ingot.report.measure import choose_cpus
from ingot.report.rendering import formats
from ingot.runtime import Session
from ingot.statistics import median_estimate

Array: TypeAlias = npt.NDArray[Any]
Inference: TypeAlias = Callable[[], object]
Mode: TypeAlias = Callable[[], contextlib.AbstractContextManager[Inference]]
"""Switches profiling on, or leaves it off, and gives what runs an inference then."""

OFF = "off"
# After a switch, inferences that are not counted: the caches hold what switching took.
_UNCOUNTED = 5
_FEWEST_ROUNDS = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """What one mode of profiling costs.

    Attributes:
        model: The model's name.
        engine: ``Ingot`` or ``ONNX Runtime``.
        mode: What is recorded.
        threads: Threads per inference.
        off_ms: Median without profiling, milliseconds.
        on_ms: Median with it.
        cost_percent: How much longer an inference takes; below zero where noise is more than that.
        cost_low: Lower end of the 95 % interval.
        cost_high: Upper end.
        entry_us: Microseconds of recording an inference, timed by itself; None where not known.
        inferences: How many were timed of either kind.
    """

    model: str
    engine: str
    mode: str
    threads: int
    off_ms: float
    on_ms: float
    cost_percent: float
    cost_low: float
    cost_high: float
    entry_us: float | None
    inferences: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    options = _options().parse_args(arguments)
    machine = announce_machine(max(options.threads))
    rows: list[Row] = []
    try:
        for model in options.models:
            for threads in options.threads:
                rows += measure(model, threads, options.rounds, options.runs, options.seconds)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(tabulate(rows))
    if options.json is not None:
        document = {
            "machine": machine.model_dump(mode="json"),
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names, default=("cifar_resnet",), help="names or paths")
    parser.add_argument("--threads", type=_numbers, default=[1], help="such as 1,2")
    parser.add_argument("--rounds", type=int, default=200, help="rounds, forth and back each")
    parser.add_argument("--runs", type=int, default=10, help="timed inferences of a block")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long, per engine")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def measure(model: str, threads: int, rounds: int, runs: int, seconds: float) -> list[Row]:
    """Returns the rows of a model: Ingot's modes, then ONNX Runtime's."""
    source = find_model(model)
    shapes = input_shapes(source.path, 1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ingot-") as folder, _pinned(choose_cpus(threads)):
        artifact = compile_model(source.path, Path(folder) / "model.ingot", shapes=shapes)
        inputs = random_arrays(input_specs(artifact.manifest), shapes)
        row = functools.partial(_row, source.name, threads)
        with Session(artifact.path, threads=threads) as session:
            taken = in_turn(_ingot_modes(session, inputs), rounds, runs, seconds)
        for mode, entry_us in _entry_us().items():
            rows.append(row("Ingot", mode, taken[mode], taken[OFF], entry_us))
        modes = _onnxruntime_modes(source.path, inputs, threads, Path(folder))
        taken = in_turn(modes, rounds, runs, seconds)
        rows.append(
            row("ONNX Runtime", "enable_profiling", taken["enable_profiling"], taken[OFF], None)
        )
    return rows


@contextlib.contextmanager
def _pinned(cpus: Sequence[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ingot_modes(session: Session, inputs: Mapping[str, Array]) -> dict[str, Mode]:
    run = functools.partial(session.run, inputs)

    def plain() -> None:
        run()

    def in_request() -> None:
        with profiling.request():
            run()

    @contextlib.contextmanager
    def on(inference: Inference, kernels: bool = False) -> Iterator[Inference]:
        with profiling.start("measured", kernels=kernels):
            yield inference

    return {
        OFF: lambda: contextlib.nullcontext(plain),
        "nothing": lambda: contextlib.nullcontext(in_request),
        "inferences": lambda: on(plain),
        "requests": lambda: on(in_request),
        "kernels": lambda: on(in_request, kernels=True),
    }


def _entry_us() -> dict[str, float | None]:
    """Microseconds that recording an inference takes by itself, by mode."""
    with profiling.start("costs") as session:
        costs = session.trace().costs
    inference = costs["inference"] / 1e3
    return {
        "nothing": None,
        "inferences": inference,
        "requests": inference + costs["request"] / 1e3,
        "kernels": None,
    }


def _onnxruntime_modes(
    model: Path, inputs: Mapping[str, Array], threads: int, folder: Path
) -> dict[str, Mode]:
    def mode(profiled: bool) -> Mode:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = profiled
        options.profile_file_prefix = str(folder / "onnxruntime")
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        run = functools.partial(session.run, None, dict(inputs))
        return lambda: contextlib.nullcontext(run)

    return {OFF: mode(False), "enable_profiling": mode(True)}


def in_turn(
    modes: Mapping[str, Mode], rounds: int, runs: int, seconds: float
) -> dict[str, list[Array]]:
    """Times inferences of all modes in turn.

    Args:
        modes: The modes by name.
        rounds: How many rounds, at most; in each, all modes take turns forth and back.
        runs: Timed inferences of a turn.
        seconds: About how long all may take; a slow model gets fewer rounds.

    Returns:
        Milliseconds of each inference, by mode, round by round.
    """
    for mode in modes.values():
        _block(mode, runs)
    started = time.monotonic()
    taken: dict[str, list[Array]] = {name: [] for name in modes}
    for index in range(rounds):
        forth = {name: _block(mode, runs) for name, mode in modes.items()}
        for name, mode in reversed(modes.items()):
            taken[name].append(np.concatenate([forth[name], _block(mode, runs)]))
        if index + 1 >= _FEWEST_ROUNDS and time.monotonic() - started > seconds:
            break
    return taken


def _block(mode: Mode, runs: int) -> Array:
    taken = np.empty(runs)
    now = time.perf_counter_ns
    # What a session leaves in the caches when it stops is the same before each block.
    with profiling.start("before"):
        pass
    with mode() as run:
        for _ in range(_UNCOUNTED):
            run()
        for index in range(runs):
            started = now()
            run()
            taken[index] = now() - started
    return taken / 1e6


def _row(
    model: str,
    threads: int,
    engine: str,
    mode: str,
    on: Sequence[Array],
    off: Sequence[Array],
    entry_us: float | None,
) -> Row:
    # Within each round, since a machine drifts by more than what is measured here.
    ratio = median_estimate([np.median(a) / np.median(b) for a, b in zip(on, off, strict=True)])
    percent = [100 * (value - 1) for value in (ratio.value, ratio.low, ratio.high)]
    medians = [float(np.median(np.concatenate(rounds))) for rounds in (off, on)]
    timed = sum(len(block) for block in on)
    return Row(model, engine, mode, threads, *medians, *percent, entry_us, timed)


def tabulate(rows: Sequence[Row]) -> str:
    """Returns the table of rows."""
    headings = ["model", "engine", "records", "threads", "off ms", "on ms", "cost",
                "95 % interval", "entry µs", "of off", "inferences"]  # fmt: skip
    return markdown_table(headings, [_cells(row) for row in rows], text_columns=3)


def _cells(row: Row) -> list[str]:
    known = row.entry_us is not None
    return [
        row.model,
        row.engine,
        row.mode,
        str(row.threads),
        formats.milliseconds(row.off_ms),
        formats.milliseconds(row.on_ms),
        f"{row.cost_percent:.2f} %",
        f"{row.cost_low:.2f} to {row.cost_high:.2f} %",
        f"{row.entry_us:.2f}" if known else formats.MISSING,
        f"{row.entry_us / row.off_ms / 10:.2f} %" if known else formats.MISSING,
        str(row.inferences),
    ]


if __name__ == "__main__":
    sys.exit(main())
