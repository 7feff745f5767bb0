"""Runs cases in processes that are kept, so that a crash or a hang costs its case alone."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import queue
import warnings
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.conformance_cases import Case
from benchmarks.conformance_engines import Engine, Kind, Outcome

# Seconds that a fresh process may take to import what it needs.
_START_SECONDS = 120.0
_SPAWN = multiprocessing.get_context("spawn")


def _serve(connection: Connection) -> None:
    """The worker's loop: an engine and a case in, an outcome out."""
    warnings.simplefilter("ignore")
    connection.send(None)
    while True:
        try:
            engine, case = connection.recv()
        except EOFError:
            return
        connection.send(engine(case))


class _Worker:
    """A process that answers one case at a time; started anew after it has died."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: Any = None
        self._connection: Any = None

    def run(self, engine: Engine, case: Case) -> Outcome:
        try:
            if self._process is None:
                self._start()
            self._connection.send((engine, case))
            if not self._connection.poll(self._seconds):
                self.stop()
                return Outcome(Kind.HANG, f"no answer within {self._seconds:g} s")
            outcome: Outcome = self._connection.recv()
            return outcome
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self.stop()
            return Outcome(Kind.CRASH, f"the process ended with {code}")

    def _start(self) -> None:
        self._connection, far_end = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(far_end,), daemon=True)
        self._process.start()
        far_end.close()
        if not self._connection.poll(_START_SECONDS):
            raise TimeoutError(f"a worker did not start within {_START_SECONDS:g} s")
        self._connection.recv()

    def stop(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._process = None


def run_cases(
    tasks: Iterable[tuple[Engine, Case]], *, jobs: int = 1, seconds: float = 120.0
) -> Iterator[tuple[Engine, Case, Outcome]]:
    """Runs cases, each through an engine, and yields the outcomes as they come.

    Args:
        tasks: Engines, which are functions of a module, and cases.
        jobs: How many processes.
        seconds: How long a case may take; after that its process is ended.
    """
    workers: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    every = [_Worker(seconds) for _ in range(jobs)]
    for worker in every:
        workers.put(worker)

    def run(task: tuple[Engine, Case]) -> tuple[Engine, Case, Outcome]:
        worker = workers.get()
        try:
            return (*task, worker.run(*task))
        finally:
            workers.put(worker)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, task) for task in tasks]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            for worker in every:
                worker.stop()
