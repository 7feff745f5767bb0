"""A model in processes of its own: what ends them ends neither the server nor other models.

One process for each batch at a time. A process that ends is started anew, after waits that grow as
long as it ends again soon; the batch that it ran is refused as unavailable, which clients may try
again, and so is what comes while no process of the model is there.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy.typing as npt

import ingot.errors
from ingot.errors import IngotError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import Manifest, TensorSpec
from ingot.runtime.threads import resolve_threads
from ingot.runtime.trust import trusted_keys
from ingot.serving.models.array_messages import receive_arrays, send_arrays
from ingot.serving.requests import Cause, RefusedError

Array = npt.NDArray[Any]

_MODULE = "ingot.serving.models.worker"
_logger = logging.getLogger("ingot.serving")
# Seconds until a process that ended is started anew: at first, and at most. One that lived for the
# latter counts as sound.
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
# Seconds that a process which is not needed any more may take to end.
_ENDS_WITHIN = 5.0


class ModelProcesses:
    """The processes of an artifact, used as a :class:`ingot.runtime.session.Session` is.

    Attributes:
        manifest: What the artifact says of itself.
        threads: Threads of each process.
        restarts: How often a process ended by itself.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        *,
        threads: int | None = None,
        memory_limit: int | None = None,
        trust: Path | None = None,
    ) -> None:
        """Starts the processes and has them load the artifact.

        Args:
            path: The artifact.
            count: How many processes: the batches that run at a time.
            threads: As of a session.
            memory_limit: As of a session.
            trust: As of a session.

        Raises:
            IngotError: What a session raises.
        """
        self.threads = resolve_threads(threads)
        reader = ArtifactReader(path, trusted_keys(trust))
        self.manifest: Manifest = reader.manifest
        reader.close()
        self.restarts = 0
        self._facts = {
            "path": str(path),
            "threads": self.threads,
            "memory_limit": memory_limit,
            "trust": None if trust is None else str(trust),
            "manifest": self.manifest.to_json(),
        }
        self._changed = threading.Condition()
        self._closing = False
        self._trouble = ""
        self._living: set[_Process] = set()
        self._idle: list[_Process] = []
        self._supervisors: list[threading.Thread] = []
        started: list[_Process] = []
        try:
            started.extend(_Process(self._facts) for _ in range(count))
        except BaseException:
            for process in started:
                process.end()
            raise
        for process in started:
            self._add(process)
            supervisor = threading.Thread(target=self._supervise, args=(process,), daemon=True)
            self._supervisors.append(supervisor)
            supervisor.start()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        return self.manifest.outputs

    @property
    def trouble(self) -> str:
        """Why nothing can be run now; empty if something can."""
        return "" if self._living else self._trouble

    def require_available(self) -> None:
        """Refuses where no process is there.

        Raises:
            RefusedError: None is.
        """
        if not self._living:
            raise self._unavailable()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch.

        Raises:
            RefusedError: No process is there, or the one that ran it has ended.
            IngotError: What a session raises.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._idle or not self._living)
            if not self._idle:
                raise self._unavailable()
            process = self._idle.pop()
        try:
            said, outputs = process.ask(inputs)
        except BaseException as error:
            # What it had been about to answer would be taken for the next batch's.
            with self._changed:
                self._remove(process, "its process has ended while it ran a batch")
            process.kill()
            if isinstance(error, EOFError | OSError):
                raise self._unavailable() from None
            raise
        with self._changed:
            if process in self._living:
                self._idle.append(process)
                self._changed.notify()
        if said:
            raise _raised(said)
        return outputs

    def close(self) -> None:
        """Ends the processes; nothing may run any more."""
        with self._changed:
            self._closing = True
            idle, busy = list(self._idle), self._living.difference(self._idle)
            self._changed.notify_all()
        # Who waits for an answer of one that still runs reads from its socket.
        for process in busy:
            process.kill()
        for process in idle:
            process.end()
        for supervisor in self._supervisors:
            supervisor.join()

    def _supervise(self, process: _Process) -> None:
        """Starts a process anew whenever it has ended."""
        wait = _FIRST_WAIT
        while True:
            begun = time.monotonic()
            code = process.wait()
            with self._changed:
                if self._closing:
                    return
                self._remove(process, f"its process has ended ({_ending(code)})")
                self.restarts += 1
            _logger.warning("a process of %s ended: %s", self._facts["path"], _ending(code))
            if time.monotonic() - begun >= _LONGEST_WAIT:
                wait = _FIRST_WAIT
            while True:
                with self._changed:
                    if self._changed.wait_for(lambda: self._closing, wait):
                        return
                wait = min(2 * wait, _LONGEST_WAIT)
                anew = self._started_anew()
                if anew is not None:
                    process = anew
                    break

    def _started_anew(self) -> _Process | None:
        try:
            process = _Process(self._facts)
        except IngotError as error:
            _logger.warning("%s cannot be started anew: %s", self._facts["path"], error)
            with self._changed:
                self._trouble = f"it cannot be started anew: {error}"
            return None
        if not self._add(process):
            process.end()
        return process

    def _add(self, process: _Process) -> bool:
        with self._changed:
            if self._closing:
                return False
            self._living.add(process)
            self._idle.append(process)
            self._changed.notify()
            return True

    def _remove(self, process: _Process, why: str) -> None:
        if process not in self._living:
            return
        self._living.discard(process)
        if process in self._idle:
            self._idle.remove(process)
        self._trouble = why
        self._changed.notify_all()

    def _unavailable(self) -> RefusedError:
        return RefusedError(
            Cause.UNAVAILABLE,
            f"the model is not available: {self._trouble}; it is started anew",
            retry_after=_FIRST_WAIT,
        )


class _Process:
    """A process that has loaded the artifact."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        """Starts it.

        Raises:
            IngotError: It cannot be started, or the artifact cannot be loaded.
        """
        ours, theirs = socket.socketpair()
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", _MODULE, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            self._connection.close()
            raise IngotError(f"cannot start a process for the model: {error}") from None
        try:
            send_arrays(self._connection, facts, {})
            said, _ = receive_arrays(self._connection)
        except (EOFError, OSError):
            self.kill()
            ended = _ending(self._process.wait())
            self._connection.close()
            raise IngotError(f"the model's process ended while it loaded it ({ended})") from None
        except BaseException:
            self.end()
            raise
        if said:
            self.end()
            raise _raised(said)

    def ask(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Has it run a batch; returns its error, if there is one, and its outputs.

        Raises:
            EOFError: It has ended.
            OSError: The same.
        """
        send_arrays(self._connection, {}, inputs)
        return receive_arrays(self._connection)

    def wait(self) -> int:
        """Waits until it has ended; returns its code, as of :class:`subprocess.Popen`."""
        return self._process.wait()

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()

    def end(self) -> None:
        """Has it end, and waits until it has."""
        self._connection.close()
        try:
            self._process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment() -> dict[str, str]:
    """Of a process that finds this Ingot, wherever this one has found it."""
    root = str(Path(ingot.errors.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, inherited]))}


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _raised(said: Mapping[str, str]) -> Exception:
    kind, message = said["error"], said["message"]
    if kind == MemoryError.__name__:
        return MemoryError(message)
    known = getattr(ingot.errors, kind, IngotError)
    if isinstance(known, type) and issubclass(known, IngotError):
        return known(message)
    return IngotError(message)
