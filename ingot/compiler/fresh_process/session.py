"""An artifact in a fresh process, seen from the process that compiles."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import ingot.errors
from ingot.compiler.fresh_process.server import FORK, REPLY, REQUEST, WAIT
from ingot.errors import IngotError, VerificationError, signal_name
from ingot.files import temporary_file
from ingot.runtime.trust import Trust

_MODULE = "ingot.compiler.fresh_process.server"


class FreshSession:
    """An artifact loaded in a process that holds the runtime alone, as a deployed machine does.

    What only the compiling process has (functions, packages, state of earlier runs) is not there,
    and code that ends its process does not end this one.

    Example:
        >>> with FreshSession("model.ingot") as session:  # doctest: +SKIP
        ...     outputs = session.run({"image": image})
    """

    def __init__(self, path: str | os.PathLike[str], trust: Trust = None) -> None:
        """Loads the artifact at ``path``.

        Args:
            path: An ``*.ingot`` file.
            trust: As :class:`ingot.runtime.Session` takes it.

        Raises:
            VerificationError: It cannot be loaded there, or no process can be started.
            IngotError: What :class:`ingot.runtime.Session` raises.
        """
        # A file and not a pipe: a process that says much would wait for a reader.
        self._said = temporary_file()  # closed in close()
        own, other = socket.socketpair()
        self._connection = Connection(own.detach())
        self._process: int | None = None
        try:
            with other:
                self._process = _server.fork(other.fileno(), self._said.fileno())
            keys = str(Path(trust).absolute()) if trust else trust
            self._ask((str(Path(path).absolute()), keys))
        except IngotError as error:
            self.close()
            raise type(error)(
                f"{path} cannot be loaded where the runtime is installed alone: {error}"
            ) from error
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, Any], /) -> dict[str, Any]:
        """Runs one inference.

        Raises:
            IngotError: What :meth:`ingot.runtime.Session.run` raises.
            VerificationError: Anything else is raised there, or the process is ended by it.
        """
        outputs: dict[str, Any] = self._ask(dict(inputs))
        return outputs

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        self._connection.close()
        if process is not None:
            # It may be in a loop without an end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            with contextlib.suppress(OSError):
                _server.wait(process)
        self._said.close()

    def __enter__(self) -> FreshSession:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self.close()

    def _ask(self, message: Any) -> Any:
        try:
            self._connection.send(message)
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        if isinstance(answer, tuple):
            raise _raised(*answer)
        return answer

    def _death(self) -> VerificationError:
        """The one line for a process that has ended by itself."""
        process, self._process = self._process, None
        assert process is not None
        try:
            status = _server.wait(process)
        except OSError:
            return VerificationError("its process is gone, and the one that made it")
        if os.WIFSIGNALED(status):
            how = f"is ended by {signal_name(os.WTERMSIG(status))}"
            if os.WTERMSIG(status) == signal.SIGSEGV:
                # What TVM's handler of this signal prints are addresses.
                return VerificationError(f"its process {how}")
        else:
            how = f"ends with exit code {os.WEXITSTATUS(status)}"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return VerificationError(f"its process {how}" + (f", and says: {last}" if last else ""))


class _Server:
    """The process that forks the others; started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, *files: int) -> int:
        """Makes a process that holds these files; returns its number."""
        with self._lock:
            with contextlib.suppress(OSError):
                if self._control is not None and self._owner == os.getpid():
                    return self._call(FORK, 0, files)
            # It is not there yet, has had nothing to do for long, or is that of the process which
            # this one was forked from.
            try:
                self._start()
                return self._call(FORK, 0, files)
            except OSError as error:
                raise VerificationError(
                    "the process that the compiled code is checked in cannot be started: "
                    f"{error}; verify.enabled = false in the recipe compiles without the check"
                ) from error

    def wait(self, process: int) -> int:
        """Waits for the end of a process that was forked; returns its status."""
        with self._lock:
            return self._call(WAIT, process, ())

    def _call(self, operation: bytes, process: int, files: tuple[int, ...]) -> int:
        assert self._control is not None
        socket.send_fds(self._control, [REQUEST.pack(operation, process)], files)
        reply = self._control.recv(REPLY.size, socket.MSG_WAITALL)
        if len(reply) < REPLY.size:
            raise ConnectionResetError("it has ended")
        (value,) = REPLY.unpack(reply)
        return int(value)

    def _start(self) -> None:
        self._control, other = socket.socketpair()
        with other:
            self._owner = os.getpid()
            # No modules of the folder it is in, and no threads before it forks.
            alone = {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"}
            # In a session of its own Ctrl-C does not reach it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                env={**environment_of_this_ingot(), **alone},
                start_new_session=True,
            )


_server = _Server()


def environment_of_this_ingot() -> dict[str, str]:
    """The environment of a child process that finds this Ingot, wherever this one has found it."""
    root = str(Path(ingot.errors.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, inherited]))}


def _raised(kind: str, message: str) -> IngotError:
    known = getattr(ingot.errors, kind, None)
    if isinstance(known, type) and issubclass(known, IngotError):
        return known(message)
    return VerificationError(f"{kind}: {message}")
