"""A server in a process of its own, as ``ingot serve`` starts it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SERVE = "import sys; from ingot.cli.entry import run; sys.argv[0] = 'ingot'; run()"
_ENDS = 30.0


class Running:
    """A server that runs.

    Attributes:
        process: Its process.
        url: Where HTTP is.
        grpc_port: The port for gRPC.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, grpc_port: int) -> None:
        self.process = process
        self.url = url
        self.grpc_port = grpc_port

    @property
    def address(self) -> str:
        """Its host and port."""
        return urlsplit(self.url).netloc

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Asks over a connection of its own; returns status, headers and body."""
        connection = http.client.HTTPConnection(self.address, timeout=_ENDS)
        with contextlib.closing(connection):
            given = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request(method, path, given, headers or {})
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return response.status, named, response.read()

    def end(self) -> int:
        """Has it end as a supervisor does; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_ENDS)


def _places(line: str) -> tuple[str, int]:
    url, _, port = line.removeprefix("serving at ").strip().partition(", gRPC at port ")
    return url, int(port)


@contextlib.contextmanager
def running(*arguments: object) -> Iterator[Running]:
    """Starts ``ingot serve`` with these arguments, at a free port, and ends it afterwards."""
    command = [sys.executable, "-c", _SERVE, "serve", *map(str, arguments)]
    command += ["--port", "0", "--grpc-port", "0"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True,
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("serving at "):
                    yield Running(process, *_places(line))
                    return
            errors.seek(0)
            raise AssertionError(f"the server did not start: {errors.read()}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
