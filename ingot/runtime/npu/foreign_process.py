"""Arm's code in a process of its own: it ends its process on what is damaged.

Run as a program, with a function's name and the number of a socket's descriptor: it answers each
tuple of arguments by what the function returns or raises, until the other side closes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from ingot.errors import first_line, signal_name

# Imports come from where this process has them, whatever its own environment says.
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from {module} import serve; "
    "serve({function!r}, {descriptor})"
)


class EndedError(Exception):
    """The process has ended; says how."""


class RaisedError(Exception):
    """The function has raised; the message is the first line of what it said."""


class ForeignProcess:
    """A process that calls a function, once for each call; started when it is first asked.

    It is started anew where it has ended, and in a child of this process.

    Args:
        function: ``module:function``; it takes and returns what can be pickled.
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._owner = 0
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        os.register_at_fork(after_in_child=self._renew_lock)

    def call(self, *arguments: Any) -> Any:
        """Calls the function there.

        Raises:
            EndedError: The process was ended by it, or cannot be started.
            RaisedError: The function raised.
        """
        with self._lock:
            try:
                connection = self._connected()
                connection.send(arguments)
                succeeded, answer = connection.recv()
            except (OSError, EOFError) as error:
                raise EndedError(self._ended(error)) from error
            except BaseException:
                self._ended(None)  # its answer, which nobody waits for any more, is no other's
                raise
        if not succeeded:
            raise RaisedError(answer)
        return answer

    def _connected(self) -> Connection:
        if self._connection is None or self._owner != os.getpid():
            own, other = socket.socketpair()
            program = _PROGRAM.format(
                path=sys.path,
                module=__name__,
                function=self._function,
                descriptor=other.fileno(),
            )
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


def serve(function: str, descriptor: int) -> None:
    """Answers what comes in by a socket until the other side closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends this one
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    connection = Connection(descriptor)
    while True:
        try:
            arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, call(*arguments)
        except Exception as error:  # noqa: BLE001  # its type is the foreign package's own
            answer = False, first_line(error)
        connection.send(answer)
