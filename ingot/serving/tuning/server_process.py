"""A server in a process of its own, as ``ingot serve`` starts it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from ingot.errors import IngotError

_PROGRAM = "from ingot.cli.entry import run; run()"
_SERVING = "serving at "
_ENDS_WITHIN = 30.0


@contextlib.contextmanager
def server_process(arguments: Sequence[object]) -> Iterator[tuple[str, int]]:
    """Runs ``ingot serve`` at a free port; gives its host and port.

    Args:
        arguments: Its arguments, but for ports.

    Raises:
        IngotError: It does not start; says why.
    """
    command = [sys.executable, "-c", _PROGRAM, "serve", *map(str, arguments)]
    command += ["--port", "0", "--grpc-port", "-1"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(_SERVING):
                    host, _, port = line.strip().rpartition(":")
                    yield host.rpartition("/")[2], int(port)
                    return
            errors.seek(0)
            said = errors.read().strip().splitlines()
            raise IngotError(said[-1].removeprefix("ingot: error: ") if said else "no server")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
