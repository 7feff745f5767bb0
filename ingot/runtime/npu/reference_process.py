"""The TOSA reference model in a process of its own: it ends its process on a graph that is damaged.

Run as a program, with the number of a socket's descriptor: it answers each pair of a graph and its
inputs by the outputs, the status's name, and what was raised, until the other side closes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import first_line, signal_name

Array = npt.NDArray[Any]
Answer = tuple[list[Array], str, str]

# Imports come from where this process has them, whatever its own environment says.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({descriptor})"


class EndedError(Exception):
    """The process has ended; says how."""


class ReferenceProcess:
    """A process that runs graphs one after the other; started when it is first asked.

    It is started anew where it has ended, and in a child of this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        os.register_at_fork(after_in_child=self._renew_lock)

    def run(self, graph: bytes, inputs: Sequence[Array]) -> Answer:
        """Runs a graph; returns its outputs, the status's name, and what was raised, if anything.

        Raises:
            EndedError: The process was ended by it, or cannot be started.
        """
        with self._lock:
            try:
                connection = self._connected()
                connection.send((graph, list(inputs)))
                answer: Answer = connection.recv()
            except (OSError, EOFError) as error:
                raise EndedError(self._ended(error)) from error
            except BaseException:
                self._ended(None)  # its answer, which nobody waits for any more, is no other's
                raise
        return answer

    def _connected(self) -> Connection:
        if self._connection is None or self._owner != os.getpid():
            own, other = socket.socketpair()
            program = _PROGRAM.format(path=sys.path, module=__name__, descriptor=other.fileno())
            with other:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", program],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                )
            self._connection, self._owner = Connection(own.detach()), os.getpid()
        return self._connection

    def _ended(self, error: BaseException | None) -> str:
        """Ends what is left of the process; returns how it ended."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is None:
            return f"cannot be started: {error}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.kill()
        code = process.wait()
        return f"ended with exit code {code}" if code >= 0 else f"ended with {signal_name(-code)}"

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


def serve(descriptor: int) -> None:
    """Answers what comes in by a socket until the other side closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends this one
    import tosa_reference_model

    connection = Connection(descriptor)
    while True:
        try:
            graph, inputs = connection.recv()
        except (EOFError, OSError):
            return
        outputs, status, raised = [], "", ""
        try:
            outputs, found = tosa_reference_model.run(graph, inputs)
            status = str(found).rpartition(".")[2]
        except Exception as error:  # noqa: BLE001  # its type is the reference model's own
            raised = first_line(error)
        connection.send(([np.array(output) for output in outputs], status, raised))
