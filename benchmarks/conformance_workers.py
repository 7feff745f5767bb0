"""Runs cases in processes that are kept, so that a crash or a hang costs its case alone."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import queue
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from benchmarks.conformance_cases import Case
from benchmarks.conformance_outcomes import Kind, Outcome

Engine: TypeAlias = Callable[[Case], Outcome]

# Seconds that a fresh process may take to import what it needs.
_START_SECONDS = 120.0
_SPAWN = multiprocessing.get_context("spawn")


def _serve(connection: Connection) -> None:
    """The worker's loop: a function and its argument in, what it returns out."""
    warnings.simplefilter("ignore")
    connection.send(None)
    while True:
        try:
            function, argument = connection.recv()
        except EOFError:
            return
        connection.send(function(argument))


class Worker:
    """A process that calls functions of modules, one at a time; started anew after it has died.

    Args:
        seconds: How long a call may take; after that the process is ended.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: Any = None
        self._connection: Any = None

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Returns what a function returns.

        Raises:
            TimeoutError: It took too long.
            ChildProcessError: The process ended.
        """
        try:
            if self._process is None:
                self._start()
            self._connection.send((function, argument))
            if not self._connection.poll(self._seconds):
                self.stop()
                raise TimeoutError(f"no answer within {self._seconds:g} s")
            return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.stop()
            raise ChildProcessError(f"the process ended with {code}") from None

    def _start(self) -> None:
        self._connection, far_end = _SPAWN.Pipe()
        # Not a daemon, which could have no processes of its own; it ends with the connection.
        self._process = _SPAWN.Process(target=_serve, args=(far_end,))
        self._process.start()
        far_end.close()
        if not self._connection.poll(_START_SECONDS):
            raise TimeoutError(f"a process did not start within {_START_SECONDS:g} s")
        self._connection.recv()

    def stop(self) -> None:
        """Ends the process."""
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
    workers: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    every = [Worker(seconds) for _ in range(jobs)]
    for worker in every:
        workers.put(worker)

    def run(task: tuple[Engine, Case]) -> tuple[Engine, Case, Outcome]:
        worker = workers.get()
        try:
            return (*task, _outcome(worker, *task))
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


def _outcome(worker: Worker, engine: Engine, case: Case) -> Outcome:
    try:
        outcome: Outcome = worker.call(engine, case)
        return outcome
    except TimeoutError as error:
        return Outcome(Kind.HANG, str(error))
    except ChildProcessError as error:
        return Outcome(Kind.CRASH, str(error))
