"""Timing one small model by several engines in one process, in turn.

What takes microseconds cannot wait for processes to be started: a process of its own is kept for
many models. It stays on its CPUs, and each engine begins when no thread computes any more.
"""

from __future__ import annotations

import concurrent.futures
import functools
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from benchmarks.layer_families.writer import Precision
from ingot import statistics
from ingot.errors import IngotError
from ingot.report.measure import choose_cpus
from ingot.report.workers.ingot import IngotEngine
from ingot.report.workers.integer_probe import IntegerProbeEngine
from ingot.report.workers.onnxruntime import OnnxRuntimeEngine
from ingot.report.workers.openvino import OpenVinoEngine
from ingot.report.workers.probe import ProbeEngine
from ingot.runtime.alignment import aligned_empty

INGOT = "ingot"
ENGINES: Mapping[str, Callable[[Path, int], Any]] = {
    INGOT: IngotEngine,
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
}
_PROBE = "probe"
# Rounds of one block each way; three are the least from which an interval says anything.
_MOST_ROUNDS = 10
_FEWEST_ROUNDS = 3
# Of a warm-up, and before each block that is counted: caches are warm then, and clocks up.
_WARM_SECONDS = 0.02
_REFILL_SECONDS = 0.001
# A pool's threads spin for a while after a run; an engine must not pay for another's.
_IDLE_SHARE = 0.05
_IDLE_WINDOW_SECONDS = 0.001
_IDLE_SECONDS = 0.5
_BYTES = 256


class LayerTimes(NamedTuple):
    """What was timed of a model.

    Attributes:
        rounds: Milliseconds of each run by engine, round by round.
        peak_gops: This machine's peak in 10^9 operations per second, by bursts that took turns
            with the engines: the best of each round, median over rounds; None if not asked for.
    """

    rounds: Mapping[str, tuple[np.ndarray, ...]]
    peak_gops: float | None = None

    def median(self, engine: str) -> float:
        """An engine's median over all rounds, in milliseconds."""
        return float(np.median(np.concatenate(self.rounds[engine])))

    def ratio(self) -> statistics.Estimate | None:
        """The best peer's median ÷ Ingot's, with its interval; None without peers."""
        peers = [engine for engine in self.rounds if engine != INGOT]
        if not peers:
            return None
        best = min(peers, key=self.median)
        return statistics.ratio_of_medians(self.rounds[best], self.rounds[INGOT])


class LayerTimer:
    """A process that times models, and is started again where one has ended it."""

    def __init__(self, threads: int) -> None:
        """Begins with no process.

        Args:
            threads: Threads per inference.

        Raises:
            UsageError: The process may not use as many CPUs.
        """
        self._threads = threads
        self._cpus = choose_cpus(threads)
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> LayerTimer:
        """Begins."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        if self._pool is not None:
            self._pool.shutdown()

    def time(
        self, models: Mapping[str, Path], seconds: float, peak: Precision | None = None
    ) -> LayerTimes:
        """Times a model.

        Args:
            models: The file by engine: an artifact for ``ingot``, else an ``.onnx`` file.
            seconds: About how long each engine runs.
            peak: The arithmetic whose peak is measured beside them.

        Raises:
            IngotError: An engine does not run it, or has ended the process.
        """
        if self._pool is None:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                1,
                multiprocessing.get_context("spawn"),
                os.sched_setaffinity,
                (0, self._cpus),
            )
        try:
            return self._pool.submit(_time, models, self._threads, seconds, peak).result()
        except BrokenProcessPool as error:
            self._pool = None
            raise IngotError(f"the process that ran {', '.join(models)} ended") from error
        except IngotError:
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            raise IngotError(f"an engine does not run it: {message}") from error


def random_arrays(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of a model with fixed shapes: normal floats, or bytes from their whole range."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [dimension.dim_value for dimension in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind == "f":
            drawn = generator.standard_normal(shape, dtype=np.float32)
        else:
            drawn = generator.integers(_BYTES, size=shape)
        # Engines load whole vectors from aligned inputs; all are given the same alignment.
        array = aligned_empty(tuple(shape), dtype)
        array[...] = drawn
        arrays[value.name] = array
    return arrays


def _time(
    models: Mapping[str, Path], threads: int, seconds: float, peak: Precision | None
) -> LayerTimes:
    inputs = random_arrays(onnx.load(next(p for p in models.values() if p.suffix == ".onnx")))
    runs = {}
    for name, path in models.items():
        runs[name] = functools.partial(ENGINES[name](path, threads).run, inputs)
    if peak is not None:
        probe = _probe(peak, threads)
        runs[_PROBE] = functools.partial(probe.run, {})
    once = {name: _warm_up(run) for name, run in runs.items()}
    rounds: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    slowest = max(once[name] for name in models)
    count = max(_FEWEST_ROUNDS, min(_MOST_ROUNDS, int(seconds / (2.0 * slowest))))
    for _ in range(count):
        halves: dict[str, list[np.ndarray]] = {name: [] for name in runs}
        for name in (*runs, *reversed(runs)):
            _wait_until_idle()
            uncounted = math.ceil(_REFILL_SECONDS / once[name])
            counted = max(1, round(seconds / (2 * count * once[name])))
            halves[name].append(_run_times(runs[name], uncounted + counted)[uncounted:])
        for name, taken in halves.items():
            rounds[name].append(np.concatenate(taken))
    peak_gops = None
    if peak is not None:
        burst = float(np.median([taken.min() for taken in rounds.pop(_PROBE)]))
        peak_gops = probe.facts["operations"] / burst / 1e6
    return LayerTimes({name: tuple(taken) for name, taken in rounds.items()}, peak_gops)


@functools.cache
def _probe(peak: Precision, threads: int) -> ProbeEngine:
    return (IntegerProbeEngine if peak == "int8" else ProbeEngine)(Path(), threads)


def _warm_up(run: Callable[[], object]) -> float:
    """Runs for a while; returns about how many seconds one takes."""
    run()
    taken: list[float] = []
    while sum(taken) < _WARM_SECONDS:
        taken.append(float(_run_times(run, 1)[0]) / 1e3)
    return float(np.median(taken[len(taken) // 2 :]))


def _run_times(run: Callable[[], object], count: int) -> np.ndarray:
    """Milliseconds of runs in a row."""
    clock = time.perf_counter_ns
    times = np.empty(count, np.int64)
    for index in range(count):
        began = clock()
        run()
        times[index] = clock() - began
    return times / 1e6


def _wait_until_idle() -> None:
    """Waits until this process computes no more, half a second at most."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while time.monotonic() < deadline:
        before, began = time.process_time(), time.perf_counter()
        time.sleep(_IDLE_WINDOW_SECONDS)
        if time.process_time() - before < _IDLE_SHARE * (time.perf_counter() - began):
            return
