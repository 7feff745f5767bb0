"""The process that holds the runtime alone, and forks one like it for each artifact.

A fork takes milliseconds where starting Python and importing the runtime takes a quarter of a
second. Nothing has run in this process, and it has no threads, so that its forks are as fresh as
one that was started.

It is told what to do over a socket, its standard input: to fork, with the two files of the new
process (a socket, and what its standard error goes to), or to wait for one that it has forked.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
from multiprocessing.connection import Connection

import numpy as np

from ingot.compiler.fresh_process.installed import InstalledAlone, packages_of
from ingot.errors import first_line
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.native_library import native_library
from ingot.runtime.session import Session
from ingot.runtime.trust import Trust

REQUEST = struct.Struct("<cI")
REPLY = struct.Struct("<i")
FORK, WAIT = b"f", b"w"
# Without anything to do for so long it ends, and gives its memory back.
_IDLE_SECONDS = 120.0

# The extra that an executor of regions needs.
_EXTRAS = {"onnxruntime": "fallback", "npu": "npu"}


def main() -> None:
    """Serves until the other side is gone, or has nothing to do."""
    # Ctrl-C is for the process that asked; it ends these by closing their sockets.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    native_library()
    install = InstalledAlone()
    sys.meta_path.insert(0, install)
    while select.select([control], [], [], _IDLE_SECONDS)[0]:
        message, files, *_ = socket.recv_fds(control, REQUEST.size, 2)
        if len(message) < REQUEST.size:
            return
        operation, pid = REQUEST.unpack(message)
        if operation == WAIT:
            control.sendall(REPLY.pack(os.waitpid(pid, 0)[1]))
            continue
        child = os.fork()
        if child == 0:
            control.close()
            _run(files, install)
        for file in files:
            os.close(file)
        control.sendall(REPLY.pack(child))


def _run(files: list[int], install: InstalledAlone) -> None:
    """Runs one artifact; does not return."""
    status = 1
    try:
        connection, errors = files
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        _serve(Connection(connection), install)
        status = 0
    except BaseException as error:  # noqa: BLE001  # told to the other side by its last line
        os.write(2, f"{type(error).__name__}: {first_line(error)}\n".encode())
    finally:
        # Not by way of the interpreter: what was forked belongs to the process before.
        os._exit(status)


def _serve(connection: Connection, install: InstalledAlone) -> None:
    """Loads the artifact whose path is received, then answers each mapping of inputs.

    With the path comes whom to trust. An answer is the outputs, or the error: one of Ingot's own as
    it is, of another its kind and first line.
    """
    try:
        path, trust = connection.recv()
        session = _load(path, trust, install)
    except Exception as error:  # noqa: BLE001  # told to the other side, whatever it is
        connection.send(_told(error))
        return
    connection.send({})
    while True:
        try:
            inputs = connection.recv()
        except EOFError:
            return
        try:
            connection.send(session.run(inputs))
        except Exception as error:  # noqa: BLE001  # told to the other side, whatever it is
            connection.send(_told(error))


def _load(path: str, trust: Trust, install: InstalledAlone) -> Session:
    manifest = ArtifactReader(path).manifest
    executors = {region.executor for region in manifest.regions.values()}
    install.allow(packages_of(_EXTRAS[executor] for executor in executors if executor in _EXTRAS))
    if any(_is_foreign(spec.dtype) for spec in (*manifest.inputs, *manifest.outputs)):
        # Who gives or takes such an array has the package of its type.
        install.allow(["ml_dtypes"])
    return Session(path, trust=trust)


def _is_foreign(dtype: str) -> bool:
    try:
        np.dtype(dtype)
    except TypeError:
        return True
    return False


def _told(error: Exception) -> tuple[str, str]:
    """An error as its kind and one line."""
    return type(error).__name__, first_line(error)


if __name__ == "__main__":
    main()
